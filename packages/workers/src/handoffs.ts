import type { Worker } from 'node:cluster'

/** What node:cluster sends to a worker with a connection, and hears from it then. Its own words, the same since Node 0.12. */
interface Sent { readonly cmd?: string; readonly act?: string; readonly seq?: number }
interface Heard { readonly cmd?: string; readonly ack?: number }
interface Handle { close? (): void }

/**
 * Connections that are on their way to a worker. node:cluster keeps its end of one open until the worker says that it has it, for ever when the worker is
 * killed before, and its client would wait as long. Whether something was read of it nobody knows then, so it is ended as all others are that the
 * worker had.
 */
export function endWithWorker (worker: Worker): void {
  const { process } = worker
  const underway = new Map<number, Handle>()
  const send = process.send.bind(process) as (...args: unknown[]) => boolean
  process.send = ((message: Sent, handle?: Handle, ...rest: unknown[]): boolean => {
    if (message?.cmd === 'NODE_CLUSTER' && message.act === 'newconn' && message.seq !== undefined && typeof handle?.close === 'function') underway.set(message.seq, handle)
    return send(message, handle, ...rest)
  }) as typeof process.send
  process.on('internalMessage', ({ cmd, ack }: Heard) => { if (cmd === 'NODE_CLUSTER' && ack !== undefined) underway.delete(ack) })
  worker.on('exit', () => {
    for (const handle of underway.values()) handle.close!()
    underway.clear()
  })
}
