import { execFile } from 'node:child_process'
import { type AddressInfo, connect as connectPlain, type Socket } from 'node:net'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { createTls, type Tls, type TlsOptions } from '../src/index.ts'

type Test = { teardown (action: () => unknown): void }

export interface Site {
  readonly app: FastifyInstance
  readonly tls: Tls
  readonly port: number
}

/** An app behind TLS, listening; closed with the test. `prepare` runs after the plugin is there. */
export async function site (
  t: Test, options: TlsOptions, prepare?: (app: FastifyInstance) => unknown, settings: FastifyServerOptions = {}
): Promise<Site> {
  const edge = await createTls(options)
  const app = fastify({ forceCloseConnections: true, ...settings, ...edge.server }) as FastifyInstance
  await app.register(edge.plugin)
  await prepare?.(app)
  if (!app.hasRoute({ method: 'GET', url: '/' })) app.get('/', async (request) => ({ ip: request.ip, version: request.raw.httpVersion, protocol: request.protocol }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { app, tls: edge.tls, port: (app.server.address() as AddressInfo).port }
}

/** A finished handshake; the caller ends the socket. */
export function handshake (port: number, options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ...options }, () => { resolve(socket) })
    socket.on('error', reject)
  })
}

/** The common name of the certificate that is shown for a host. */
export async function shown (port: number, servername: string, ca: string): Promise<string> {
  const socket = await handshake(port, { servername, ca, checkServerIdentity: () => undefined })
  const { subject } = socket.getPeerCertificate()
  socket.destroy()
  return String(subject.CN)
}

/** One HTTP/1.1 request on a socket; all that comes back until its end. */
export function ask (socket: Socket, head = 'GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n'): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => { text += chunk })
    socket.on('close', () => { resolve(text) })
    socket.on('error', reject)
    socket.write(head)
  })
}

/** The body of a response. */
export const bodyOf = (text: string): string => { const at = text.indexOf('\r\n\r\n'); return at === -1 ? '' : text.slice(at + 4) }

export function plain (port: number): Socket {
  return connectPlain(port, '127.0.0.1')
}

/** A command's output, both streams; also when it fails. */
export function run (command: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve) => {
    const child = execFile(command, args, { timeout: 60_000, maxBuffer: 1 << 24 }, (_error, stdout, stderr) => { resolve(stdout + stderr) })
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
  })
}

/** Waits, turn by turn, until `condition` holds; the test's own timeout ends a wait in vain. */
export async function until (condition: () => unknown): Promise<void> {
  while (!await condition()) await new Promise((resolve) => { setTimeout(resolve, 5) })
}
