#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'
import { help, parseCommand, UsageError } from './options.ts'
import { serve } from './serve.ts'

/** Milliseconds that running requests may go on after the first signal. */
const CLOSE_DEADLINE = 30_000

function version (): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version
}

async function close (app: FastifyInstance, signal: string): Promise<void> {
  app.log.info({ signal }, 'closing')
  const deadline = setTimeout(() => {
    app.log.warn(`requests still run after ${CLOSE_DEADLINE} ms: they are cut off`)
    process.exit(1)
  }, CLOSE_DEADLINE)
  await app.close()
  clearTimeout(deadline)
  app.log.info('closed')
  process.exit(0)
}

async function main (): Promise<void> {
  const command = await parseCommand(process.argv.slice(2))
  switch (command.name) {
    case 'help':
      process.stdout.write(help)
      break
    case 'version':
      process.stdout.write(`${version()}\n`)
      break
    case 'serve': {
      // A signal may also come while it starts.
      const starting = serve(command.options)
      let signals = 0
      for (const signal of ['SIGTERM', 'SIGINT']) {
        process.on(signal, () => {
          if (++signals > 1) process.exit(1)
          void starting.then((app) => close(app, signal))
        })
      }
      await starting
    }
  }
}

try {
  await main()
} catch (error) {
  const { code, message } = error as Error & { code?: string }
  const usage = error instanceof UsageError || code?.startsWith('HG_') === true
  process.stderr.write(`headgate: ${message}\n${error instanceof UsageError ? "Try 'headgate --help'.\n" : ''}`)
  process.exit(usage ? 2 : 1)
}
