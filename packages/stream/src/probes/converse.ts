import { connect, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { type Target, type Upstream, whereIs } from '@headgate/core'
import { StreamTransport } from '../transport.ts'
import { type CheckResult, failed } from './contract.ts'

/** More than this no server says before it can be judged. */
const LIMIT = 16_384

export interface Conversation {
  /** Speak TLS. @default true for `tls:` and `https:` upstreams */
  readonly secure?: boolean
  /** On top of the pool's `connection.tls`. */
  readonly tls?: ConnectionOptions
  /** The connection stands. A result ends the check. */
  opened? (socket: Socket): CheckResult | undefined | void
  /** `bytes` is all that has come. A result ends the check. */
  heard? (bytes: Buffer, socket: Socket): CheckResult | undefined
  /** Said before the connection is closed, where that is polite. */
  readonly farewell?: Buffer
}

/** Opens a connection to an upstream and talks to it until there is a result. Never rejects. */
export function converse (upstream: Upstream, signal: AbortSignal, conversation: Conversation): Promise<CheckResult> {
  const { target } = upstream
  if (target.protocol === 'app:') return Promise.resolve(failed('has no socket'))
  return new Promise((resolve) => {
    let heard = Buffer.alloc(0)
    let over = false
    const end = (result: CheckResult): void => {
      if (over) return
      over = true
      signal.removeEventListener('abort', aborted)
      if (result.ok && conversation.farewell !== undefined) socket.end(conversation.farewell, () => { socket.destroy() })
      else socket.destroy()
      resolve(result)
    }
    const aborted = (): void => {
      end(failed('took too long'))
      socket.destroy()
    }
    const socket = open(target, conversation, tlsOf(upstream))
    socket.once(isSecure(target, conversation) ? 'secureConnect' : 'connect', () => {
      const result = conversation.opened?.(socket)
      if (result !== undefined) end(result)
    })
    socket.on('data', (chunk: Buffer) => {
      if (over) return
      heard = Buffer.concat([heard, chunk])
      const result = conversation.heard?.(heard, socket)
      if (result !== undefined) end(result)
      else if (heard.length > LIMIT) end(failed(`said more than ${LIMIT} bytes that mean nothing`))
    })
    socket.on('error', (error: NodeJS.ErrnoException) => { end(failed(error.code === undefined || error.message.includes(error.code) ? error.message : `${error.code}: ${error.message}`)) })
    socket.on('close', () => { end(failed(heard.length === 0 ? 'closed without a word' : 'closed before it was done')) })
    signal.addEventListener('abort', aborted, { once: true })
    if (signal.aborted) aborted()
  })
}

function isSecure (target: Target, { secure }: Conversation): boolean {
  return secure ?? (target.protocol === 'tls:' || target.protocol === 'https:')
}

/** A check for all pools meets those of HTTP too, whose transports keep their settings to themselves. */
function tlsOf ({ transport }: Upstream): ConnectionOptions | undefined {
  return transport instanceof StreamTransport ? transport.options.tls : undefined
}

function open (target: Target, conversation: Conversation, tls: ConnectionOptions | undefined): Socket | TLSSocket {
  const where = whereIs(target)
  if (!isSecure(target, conversation)) return connect({ ...where, noDelay: true })
  return connectTls({ servername: target.serverName, ...tls, ...conversation.tls, ...where })
}
