#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { runClientCommand } from './commands/index.ts'
import { isClientCommand, parseClientCommand } from './commands/options.ts'
import { UsageError } from './usage-error.ts'

function version (): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version
}

async function main (args: readonly string[]): Promise<void> {
  const [name, ...rest] = args
  // With any command: who asks for help does not know yet what it takes.
  if (rest.includes('--help') || rest.includes('-h')) return main(['--help'])
  if (isClientCommand(name)) {
    const command = parseClientCommand(name, rest, process.env)
    const stop = new AbortController()
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => { stop.abort() })
    return runClientCommand(command, stop.signal)
  }
  if (name === 'init') return (await import('./init/index.ts')).init(rest)
  // Whoever made a mistake, or asks for help, does not wait for the plugins.
  const { help, parseCommand } = await import('./options.ts')
  const command = await parseCommand(args)
  switch (command.name) {
    case 'help':
      process.stdout.write(help)
      break
    case 'version':
      process.stdout.write(`${version()}\n`)
      break
    case 'serve':
      await (await import('./run-serve.ts')).runServe(command)
  }
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  const { code, message } = error as Error & { code?: string }
  const usage = error instanceof UsageError || code?.startsWith('HG_') === true
  process.stderr.write(`headgate: ${message}\n${error instanceof UsageError ? "Try 'headgate --help'.\n" : ''}`)
  process.exit(usage ? 2 : 1)
}
