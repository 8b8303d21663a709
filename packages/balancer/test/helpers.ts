import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import balancer, { type BalancerOptions } from '../src/index.ts'

type Test = { teardown (action: () => unknown): void }

/** A real server on a free port; closed with the test. */
export async function upstream (t: Test, listener: RequestListener): Promise<{ url: string; server: Server; stop (): Promise<void> }> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const stop = (): Promise<void> => new Promise((resolve) => {
    server.closeAllConnections()
    server.close(() => { resolve() })
  })
  t.teardown(stop)
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, stop }
}

/** An app with the balancer, listening; closed with the test. */
export async function proxy (
  t: Test, options: BalancerOptions, prepare?: (app: FastifyInstance) => unknown, server: FastifyServerOptions = {}
): Promise<{ app: FastifyInstance; url: string; port: number }> {
  const app = Fastify({ forceCloseConnections: true, ...server }) as FastifyInstance
  await prepare?.(app)
  await app.register(balancer, options)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { app, url, port: (app.server.address() as AddressInfo).port }
}

/** Sends raw bytes and gives all that comes back until the peer closes or `until` is seen. */
export function raw (port: number, bytes: string, until?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => { socket.write(bytes, 'latin1') })
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      text += chunk
      if (until !== undefined && text.includes(until)) socket.destroy()
    })
    socket.on('close', () => { resolve(text) })
    socket.on('error', reject)
  })
}
