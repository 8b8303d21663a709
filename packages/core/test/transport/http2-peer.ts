import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type Http2Session, type Http2Server, type ServerHttp2Stream, type IncomingHttpHeaders, createSecureServer, createServer, type ServerOptions } from 'node:http2'
import { type AddressInfo, type Socket, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Target, parseTarget } from '../../src/index.ts'
import { FLAG, type Frame, FrameReader, frame, PREFACE, settings, TYPE } from './frames.ts'

const read = (name: string): string => readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')
/** Signs itself, for `localhost`. */
export const certificate: string = read('cert.pem')
const key = read('key.pem')

interface Test { teardown (action: () => unknown): void }
let sockets = 0

export interface Http2Peer {
  readonly target: Target
  readonly sessions: Set<Http2Session>
  /** Connections so far. */
  count: number
  readonly stop: () => void
}

/** A real HTTP/2 server on a free port; closed with the test. */
export async function http2Peer (
  t: Test, wire: 'tcp' | 'tls' | 'unix', onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, raw: string[]) => void, options: ServerOptions = {}
): Promise<Http2Peer> {
  const server: Http2Server = wire === 'tls' ? createSecureServer({ key, cert: certificate, ...options } as never) as never : createServer(options)
  const path = join(tmpdir(), `headgate-h2-${process.pid}-${++sockets}.sock`)
  const sessions = new Set<Http2Session>()
  server.on('session', (session: Http2Session) => {
    peer.count++
    sessions.add(session)
    session.on('error', () => {}).on('close', () => { sessions.delete(session) })
  })
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw: string[]) => {
    stream.on('error', () => {})
    onStream(stream, headers, raw)
  })
  if (wire === 'unix') server.listen(path)
  else server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = (): void => {
    server.close()
    for (const session of sessions) session.destroy()
  }
  t.teardown(stop)
  const port = wire === 'unix' ? 0 : (server.address() as AddressInfo).port
  const url = wire === 'unix' ? `unix:${path}` : wire === 'tls' ? `https://localhost:${port}` : `http://127.0.0.1:${port}`
  const peer: Http2Peer = { target: parseTarget(url, 'url'), sessions, count: 0, stop }
  return peer
}

export interface FramePeer {
  readonly target: Target
  readonly sockets: Set<Socket>
  /** Connections so far. */
  count: number
  /** All frames that came, of all connections. */
  readonly heard: Frame[]
}

const answerPing = (socket: Socket, payload: Buffer): void => { socket.write(frame(TYPE.ping, FLAG.ack, 0, payload)) }

/**
 * A server that speaks single frames: it sends `greeting`, acknowledges SETTINGS, answers PINGs unless `onPing` does, and calls
 * `onRequest` for each HEADERS frame with the stream's number and the connection's (from 1).
 */
export async function framePeer (
  t: Test, onRequest: (socket: Socket, stream: number, connection: number) => void,
  { greeting = settings(), onPing = answerPing }: { greeting?: Buffer; onPing?: (socket: Socket, payload: Buffer) => void } = {}
): Promise<FramePeer> {
  const open = new Set<Socket>()
  const heard: Frame[] = []
  const server = createTcpServer((socket) => {
    const connection = ++peer.count
    const reader = new FrameReader(PREFACE.length)
    open.add(socket)
    socket.on('error', () => {}).on('close', () => { open.delete(socket) })
    socket.write(greeting)
    socket.on('data', (chunk: Buffer) => {
      for (const one of reader.push(chunk)) {
        heard.push(one)
        if (one.type === TYPE.settings && one.flags === 0) socket.write(frame(TYPE.settings, FLAG.ack, 0))
        if (one.type === TYPE.ping && one.flags === 0) onPing(socket, one.payload)
        // Trailers come as HEADERS as well; the peer's callers know which stream is new.
        if (one.type === TYPE.headers) onRequest(socket, one.stream, connection)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of open) socket.destroy()
  })
  const peer: FramePeer = { target: parseTarget(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'url'), sockets: open, count: 0, heard }
  return peer
}
