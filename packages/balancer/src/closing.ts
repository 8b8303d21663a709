import type { FastifyInstance } from 'fastify'
import type { Pool } from '@headgate/core'

/**
 * Ends what the app's closing would wait for: connections that become idle meanwhile at once, and after `deadline` ms
 * whatever still runs, tunnels included.
 */
export function closeInTime (app: FastifyInstance, pools: () => Iterable<Pool>, deadline: number): void {
  app.addHook('preClose', async () => {
    const { server } = app
    if (!server.listening) return
    // Fastify closes what is idle when closing starts; what becomes idle later would hold it up until its keep-alive ends.
    const idle = setInterval(() => { server.closeIdleConnections?.() }, 100).unref()
    const late = setTimeout(() => {
      app.log.warn(`requests still run after ${deadline} ms: they are cut off`)
      for (const pool of pools()) pool.destroy()
      server.closeAllConnections?.()
    }, deadline).unref()
    server.once('close', () => {
      clearInterval(idle)
      clearTimeout(late)
    })
  })
}
