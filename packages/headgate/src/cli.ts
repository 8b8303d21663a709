#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { joinWorkers } from '@headgate/workers'
import type { FastifyInstance } from 'fastify'
import { runClientCommand } from './commands/index.ts'
import { isClientCommand, parseClientCommand } from './commands/options.ts'
import { UsageError } from './usage-error.ts'

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
  await joinWorkers()?.leave()
  clearTimeout(deadline)
  app.log.info('closed')
  process.exit(0)
}

/** Plugins name their options from `options` on: users gave them in a file, or by flags. */
function named (error: unknown, source: string): unknown {
  if (error instanceof Error && error.message.startsWith('options.')) error.message = source + error.message.slice('options'.length)
  return error
}

async function main (): Promise<void> {
  const args = process.argv.slice(2)
  const [name, ...rest] = args
  if (isClientCommand(name)) {
    const command = parseClientCommand(name, rest, process.env)
    const stop = new AbortController()
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => { stop.abort() })
    return runClientCommand(command, stop.signal)
  }
  // The proxy and all its plugins: commands that only speak to one start without them.
  const [{ help, parseCommand }, { serve }, { asWorker, supervise }] = await Promise.all([
    import('./options.ts'), import('./serve.ts'), import('./workers.ts')
  ])
  const command = await parseCommand(args)
  switch (command.name) {
    case 'help':
      process.stdout.write(help)
      break
    case 'version':
      process.stdout.write(`${version()}\n`)
      break
    case 'serve': {
      const member = joinWorkers()
      if (command.workers !== undefined && member === undefined) return supervise(command.workers)
      // A signal may also come while it starts.
      const options = member === undefined ? command.options : asWorker(command.options, member)
      const starting = serve(options).catch((error: unknown) => { throw named(error, command.source) })
      let signals = 0
      for (const signal of ['SIGTERM', 'SIGINT']) {
        process.on(signal, () => {
          if (++signals > 1) process.exit(1)
          void starting.then((app) => close(app, signal))
        })
      }
      const app = await starting
      // Here, as the last step of this process: its metrics are asked for even before anybody scrapes it.
      if (app.hasDecorator('metrics')) member?.registered(app.metrics)
      const address = app.server.address()
      member?.ready(typeof address === 'string' ? address : `${address!.address}:${address!.port}`, () => { if (++signals === 1) void close(app, 'renewed') })
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
