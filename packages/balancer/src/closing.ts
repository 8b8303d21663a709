import type { FastifyInstance } from 'fastify'
import type { Pool } from '@headgate/core'

/**
 * Ends what the app's closing would wait for: connections that become idle meanwhile at once, and after `deadline` ms
 * whatever still runs, tunnels and the app's own requests included. Call it before what closes the pools is hooked in: hooks run
 * from the last to the first, and the deadline holds for the pools too.
 */
export function closeInTime (app: FastifyInstance, pools: () => Iterable<Pool>, deadline: number): void {
  let idle: NodeJS.Timeout | undefined
  let late: NodeJS.Timeout | undefined
  app.addHook('onClose', async () => {
    clearInterval(idle)
    clearTimeout(late)
  })
  app.addHook('preClose', async () => {
    const { server } = app
    // Fastify closes what is idle when closing starts; what becomes idle later would hold it up until its keep-alive ends.
    if (server.listening) idle = setInterval(() => { server.closeIdleConnections?.() }, 100).unref()
    late = setTimeout(() => {
      app.log.warn(`requests still run after ${deadline} ms: they are cut off`)
      for (const pool of pools()) pool.destroy()
      server.closeAllConnections?.()
    }, deadline).unref()
  })
}
