import { joinWorkers } from '@headgate/workers'
import type { ServeCommand } from './options.ts'
import { WorkerTickets } from './ticket-keys.ts'
import { supervise } from './workers.ts'

/** Serves: in this process, or in workers that this one starts and looks after. */
export async function runServe (command: ServeCommand): Promise<void> {
  const member = joinWorkers()
  // At once: another one may ask from now on.
  const tickets = member && new WorkerTickets(member.colleagues)
  if (command.workers !== undefined && member === undefined) return supervise(command.workers)
  // Who only looks after workers needs nothing of what they run.
  const { runProxy } = await import('./run-proxy.ts')
  return runProxy(command, member, tickets)
}
