#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { runClientCommand } from './commands/index.ts'
import { isClientCommand, parseClientCommand } from './commands/options.ts'
import type { ServeCommand } from './options.ts'
import type { Proxy } from './proxy.ts'
import type { ServeOptions } from './serve-options.ts'
import { UsageError } from './usage-error.ts'

/** Milliseconds that running requests may go on after the first signal. */
const CLOSE_DEADLINE = 30_000
/** Milliseconds in which the process ends by itself once all is closed. */
const LINGER = 1000

function version (): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version
}

async function close (proxy: Proxy, signal: string, leave: () => unknown): Promise<void> {
  const { log } = proxy.app
  log.info({ signal }, 'closing')
  const deadline = setTimeout(() => {
    log.warn(`requests still run after ${CLOSE_DEADLINE} ms: they are cut off`)
    process.exit(1)
  }, CLOSE_DEADLINE)
  await proxy.close()
  await leave()
  clearTimeout(deadline)
  log.info('closed')
  end()
}

/**
 * Ends when nothing is left to do, the log's last lines included. `process.exit()` would try for ever to write them when whoever read
 * the log has gone: only what comes back from the event loop tells the logger that nobody does.
 */
function end (): void {
  process.exitCode = 0
  process.channel?.unref()
  setTimeout(() => { process.exit() }, LINGER).unref()
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
      await runServe(command)
  }
}

async function runServe (command: ServeCommand): Promise<void> {
  const [{ joinWorkers }, { asWorker, supervise }, { WorkerTickets }] = await Promise.all([import('@headgate/workers'), import('./workers.ts'), import('./ticket-keys.ts')])
  const member = joinWorkers()
  // At once: another one may ask from now on.
  const tickets = member && new WorkerTickets(member.colleagues)
  if (command.workers !== undefined && member === undefined) return supervise(command.workers)
  const [{ Proxy }, { placed }, { reload, watchFile }] = await Promise.all([import('./proxy.ts'), import('./config/placed.ts'), import('./reload.ts')])
  const { source, file, again } = command
  const mine = (options: ServeOptions): ServeOptions => member === undefined ? options : asWorker(options, member)
  const leave = (): unknown => member?.leave()
  const load = again && (async () => {
    const loaded = await again()
    return { ...loaded, options: mine(loaded.options) }
  })
  // A signal may also come while it starts.
  const starting = Proxy.start(mine(command.options), tickets).catch((error: unknown) => { throw placed(error, source) })
  let signals = 0
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      if (++signals > 1) process.exit(1)
      void starting.then((proxy) => close(proxy, signal, leave))
    })
  }
  // Watched before it tells that it is ready: nothing that is written from then on is missed.
  if (load !== undefined && command.watch) watchFile(file!, () => { void starting.then((proxy) => reload(proxy, load, 'the file has changed')) })
  // Workers are renewed instead, by the process that runs them.
  if (load !== undefined && member === undefined) process.on('SIGHUP', () => { void starting.then((proxy) => reload(proxy, load, 'SIGHUP')) })
  const proxy = await starting
  // Here, as the last step of this process: its metrics are asked for even before anybody scrapes it.
  if (proxy.app.hasDecorator('metrics')) member?.registered(proxy.app.metrics)
  member?.ready((proxy.addresses[0] ?? '').replace(/^https?:\/\//, ''), () => { if (++signals === 1) void close(proxy, 'renewed', leave) })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  const { code, message } = error as Error & { code?: string }
  const usage = error instanceof UsageError || code?.startsWith('HG_') === true
  process.stderr.write(`headgate: ${message}\n${error instanceof UsageError ? "Try 'headgate --help'.\n" : ''}`)
  process.exit(usage ? 2 : 1)
}
