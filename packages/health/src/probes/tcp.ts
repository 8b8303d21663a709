import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { refuse } from '../refuse.ts'
import { failed, hasStream, passed, type Probe, type ProbeKind, type ProbeResult, type ProbeTarget, failedBy } from './contract.ts'

export interface TcpProbeOptions {
  /** Text sent after the connection is open (`'PING\r\n'`). @default nothing */
  readonly send?: string
  /** What has to come back within the first 16 KiB: a text or a pattern. @default nothing: an open connection is enough */
  readonly expect?: string | RegExp
  /** Whether a TLS handshake belongs to it. @default true for `https:` and `tls:` upstreams, else false */
  readonly secure?: boolean
}

const LIMIT = 16_384

/** Opens what the target says; the handshake included where TLS is spoken. */
export function openSocket ({ address, tls }: ProbeTarget, secure: boolean, opened: () => void): Socket {
  const where = address.socketPath === undefined ? { host: address.hostname, port: address.port } : { path: address.socketPath }
  if (!secure) return connect(where, opened)
  return connectTls({ servername: isIP(address.hostname) === 0 ? address.hostname : '', ...tls, ...where }, opened)
}

export const tcp: ProbeKind<TcpProbeOptions> = {
  kind: 'tcp',
  describe: 'A connection (with its TLS handshake), and optionally what is answered to a text.',
  required: [],
  properties: { send: { type: 'string', minLength: 1 }, expect: {}, secure: { type: 'boolean' } },
  create ({ send, expect, secure }, path): Probe {
    if (expect !== undefined && !(expect instanceof RegExp) && (typeof expect !== 'string' || expect === '')) refuse(`${path}.expect`, 'must be a text or a RegExp', expect)
    const pattern = expect instanceof RegExp ? new RegExp(expect.source, expect.flags.replace(/[gy]/g, '')) : undefined
    const holds = (text: string): boolean => pattern === undefined ? text.includes(expect as string) : pattern.test(text)
    return {
      kind: 'tcp',
      applies: hasStream,
      check (target, signal) {
        return new Promise<ProbeResult>((resolve) => {
          let text = ''
          const end = (result: ProbeResult): void => {
            socket.destroy()
            resolve(result)
          }
          const { protocol } = target.address
          const socket = openSocket(target, secure ?? (protocol === 'https:' || protocol === 'tls:'), () => {
            if (send !== undefined) socket.write(send, 'latin1')
            if (expect === undefined) end(passed('connected'))
          })
          socket.setEncoding('latin1')
          socket.on('data', (chunk: string) => {
            if (expect === undefined) return
            text += chunk.slice(0, LIMIT - text.length)
            if (holds(text)) end(passed('the expected answer came'))
            else if (text.length >= LIMIT) end(failed(`the first ${LIMIT} bytes do not hold the expected answer`))
          })
          socket.on('error', (error) => { end(failedBy(error)) })
          socket.on('close', () => { end(failed(text === '' ? 'closed without the expected answer' : `closed after ${JSON.stringify(text.slice(0, 80))}`)) })
          signal.addEventListener('abort', () => { socket.destroy() }, { once: true })
        })
      }
    }
  }
}
