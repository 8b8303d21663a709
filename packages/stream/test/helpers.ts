import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import stream, { type Stream, type StreamOptions } from '../src/index.ts'

export type Test = { teardown (action: () => unknown): void }

export interface Upstream {
  readonly url: string
  readonly port: number
  readonly server: Server
  readonly sockets: Set<Socket>
  /** Breaks all connections and listens no more. */
  stop (): Promise<void>
}

/** A real TCP server on a free port; closed with the test. */
export async function upstream (t: Test, onConnection: (socket: Socket) => void, port = 0): Promise<Upstream> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    onConnection(socket)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise((resolve) => { server.close(resolve) })
  }
  t.teardown(stop)
  const address = server.address() as AddressInfo
  return { url: `tcp://127.0.0.1:${address.port}`, port: address.port, server, sockets, stop }
}

/** Says its name, then sends back what it gets. */
export function named (t: Test, name: string): Promise<Upstream> {
  return upstream(t, (socket) => {
    socket.write(`${name}\n`)
    socket.pipe(socket)
  })
}

/** An app with listeners; closed with the test. `port` gives a listener's port by its name. */
export async function proxy (
  t: Test, options: StreamOptions, prepare?: (app: FastifyInstance) => unknown
): Promise<{ app: FastifyInstance; stream: Stream; port (name: string): number }> {
  const app = Fastify() as unknown as FastifyInstance
  await prepare?.(app)
  await app.register(stream, options)
  await app.ready()
  t.teardown(() => app.close())
  return { app, stream: app.stream, port: (name) => Number(/\d+$/.exec(app.stream.listener(name).address!)![0]) }
}

/** Sends, half-closes and gives all that comes back until the peer closes. */
export async function exchange (port: number, send: string | Buffer | readonly Buffer[] = ''): Promise<Buffer> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => { chunks.push(chunk) })
  for (const piece of Array.isArray(send) ? send : [send]) if (piece.length > 0) socket.write(piece as string)
  socket.end()
  await once(socket, 'close')
  return Buffer.concat(chunks)
}

/** Opens a connection and resolves with the first line that comes. */
export async function firstLine (port: number, send = ''): Promise<{ line: string; socket: Socket }> {
  const socket = connect({ port, host: '127.0.0.1' })
  let text = ''
  if (send !== '') socket.write(send)
  const line = await new Promise<string>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')))
    })
    socket.on('error', (error: NodeJS.ErrnoException) => { resolve(`error ${error.code}`) })
    socket.on('close', () => { resolve('closed') })
  })
  return { line, socket }
}

/** Waits until something holds; the test's own time-out is the bound. */
export async function until (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

export function digest (bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
