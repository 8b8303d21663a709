import type { Member } from '@headgate/workers'
import { placed } from './config/placed.ts'
import type { ServeCommand } from './options.ts'
import { Proxy } from './proxy.ts'
import { reload, watchFile } from './reload.ts'
import type { ServeOptions } from './serve-options.ts'
import type { WorkerTickets } from './ticket-keys.ts'
import { asWorker } from './workers.ts'

/** Milliseconds that running requests may go on after the first signal. */
const CLOSE_DEADLINE = 30_000
/** Milliseconds in which the process ends by itself once all is closed. */
const LINGER = 1000

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

/** Serves until a signal ends it, as a `member` of several processes or alone. */
export async function runProxy (command: ServeCommand, member: Member | undefined, tickets: WorkerTickets | undefined): Promise<void> {
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
