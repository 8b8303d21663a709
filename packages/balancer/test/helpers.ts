import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, type Socket, connect, createServer as createTcpServer } from 'node:net'
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

/** An upstream that speaks raw bytes: `speak` is called with each whole request head that comes in. */
export async function rawUpstream (t: Test, speak: (socket: Socket, head: string, count: number) => void): Promise<string> {
  let count = 0
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    let text = ''
    socket.on('data', (data: Buffer) => {
      text += data.toString('latin1')
      for (let at = text.indexOf('\r\n\r\n'); at !== -1; at = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, at + 4)
        text = text.slice(at + 4)
        if (/^[A-Z-]+ \S+ HTTP\/1\.1\r\n/.test(head)) speak(socket, head, count++)
      }
    })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => new Promise<void>((resolve) => {
    for (const socket of sockets) socket.destroy()
    server.close(() => { resolve() })
  }))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** An address at which nobody listens. */
export async function refusing (): Promise<string> {
  const server = createTcpServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => { server.close(resolve) })
  return `http://127.0.0.1:${port}`
}

/** Waits, turn by turn, until `condition` holds; the test's own timeout ends a wait in vain. */
export async function until (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setTimeout(resolve, 2) })
}

export async function bodyOf (request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
