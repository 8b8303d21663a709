import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createSecureServer } from 'node:tls'
import { type Target, parseTarget } from '../../src/index.ts'

const read = (name: string): string => readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')
/** Signs itself, for `localhost`. */
export const certificate: string = read('cert.pem')
const key = read('key.pem')

export type Wire = 'tcp' | 'tls' | 'unix'

/** One request as a scripted server sees it. */
export interface Heard {
  readonly socket: Socket
  /** Of the connection, from 1. */
  readonly request: number
  readonly head: string
  /** Waits until enough of the body has come, and takes it. */
  readonly until: (enough: (body: string) => boolean) => Promise<string>
  /** Writes latin1 text. */
  readonly write: (text: string) => void
  /** Writes piece after piece, each as its own packet as far as that can be had. */
  readonly drip: (pieces: readonly (string | Buffer)[]) => Promise<void>
}

export interface Peer {
  readonly target: Target
  readonly sockets: ReadonlySet<Socket>
  /** Connections so far. */
  readonly count: () => number
  readonly stop: () => void
}

interface Test { teardown (action: () => unknown): void }
let sockets = 0

/** A server that answers as `talk` says, byte by byte, on a free port; closed with the test. */
export async function peer (t: Test, wire: Wire, talk: (heard: Heard) => unknown): Promise<Peer> {
  const open = new Set<Socket>()
  let count = 0
  const serve = (socket: Socket): void => {
    count++
    open.add(socket)
    let text = ''
    let requests = 0
    const waiting: (() => void)[] = []
    socket.setNoDelay(true)
    socket.on('error', () => {}).on('close', () => { open.delete(socket) }).on('end', () => { setImmediate(() => { socket.end() }) })
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (waiting.length > 0) {
        for (const wake of waiting.splice(0)) wake()
        return
      }
      const end = text.indexOf('\r\n\r\n')
      // What is left of a body that nobody took is no head.
      if (end === -1 || !/^[A-Z]+ [^ ]+ HTTP\/1\.1\r\n/.test(text)) return
      const head = text.slice(0, end + 4)
      text = text.slice(end + 4)
      const until = async (enough: (body: string) => boolean): Promise<string> => {
        while (!enough(text)) await new Promise<void>((resolve) => { waiting.push(resolve) })
        const whole = text
        text = ''
        return whole
      }
      const write = (data: string): void => { if (socket.writable) socket.write(data, 'latin1') }
      const drip = async (pieces: readonly (string | Buffer)[]): Promise<void> => {
        for (const piece of pieces) {
          if (!socket.writable) return
          await new Promise<void>((resolve) => { socket.write(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece, () => { resolve() }) })
          await new Promise(setImmediate)
        }
      }
      talk({ socket, request: ++requests, head, until, write, drip })
    })
  }
  const secure = wire === 'tls'
  const server: Server = secure
    ? createSecureServer({ key, cert: certificate, allowHalfOpen: true } as never, serve)
    : createServer({ allowHalfOpen: true }, serve)
  const path = join(tmpdir(), `headgate-${process.pid}-${++sockets}.sock`)
  if (wire === 'unix') server.listen(path)
  else server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = (): void => {
    server.close()
    for (const socket of open) socket.destroy()
  }
  t.teardown(stop)
  const port = wire === 'unix' ? 0 : (server.address() as AddressInfo).port
  const url = wire === 'unix' ? `unix:${path}` : secure ? `https://localhost:${port}` : `http://127.0.0.1:${port}`
  return { target: parseTarget(url, 'url'), sockets: open, count: () => count, stop }
}
