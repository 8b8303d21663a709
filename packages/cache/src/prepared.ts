import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { LastWrite } from './last-write.ts'
import { RecentItems } from './recent-items.ts'

/** What Node's responses keep of their heads; not documented, so nothing of it is taken for granted. */
interface Insides {
  _header?: string | null
  _headerSent?: boolean
  _expect_continue?: boolean
  maxRequestsOnConnectionReached?: boolean
}

type Response = ServerResponse & Insides

/** An answer that is the same for everybody for a while. */
export interface Prepared {
  readonly fields: string[]
  uses: number
  /** Head and body as they go out on a kept connection of `server`. */
  bytes: Buffer | undefined
  reason: string
  server: unknown
}

export function prepared (fields: string[]): Prepared {
  return { fields, uses: 0, bytes: undefined, reason: '', server: undefined }
}

/** From this use on an answer's bytes are worth being put together. */
const WORTH_FROM = 4
/** Longest body that is copied behind its head. */
const LONGEST = 131_072
/** Bytes of all answers that are held ready. */
const ROOM = 4_194_304

const { writeHead, write, end } = ServerResponse.prototype
const ready = new RecentItems<Prepared>(4096, ROOM, (answer) => { answer.bytes = undefined })

/** The server that a connection belongs to, as Node's servers note it. */
const serverOf = (socket: Socket): unknown => (socket as unknown as { server?: unknown }).server

/** Would Node write the head that it writes for every GET on a kept connection, with nobody looking on and nothing before it? */
function usual (raw: Response, socket: Socket | null): socket is Socket {
  return socket !== null && socket.writableLength === 0 && raw.shouldKeepAlive && raw.req.method === 'GET' &&
    raw.writeHead === writeHead && raw.write === write && raw.end === end && raw._expect_continue !== true &&
    raw.maxRequestsOnConnectionReached !== true && !raw.strictContentLength && !raw.chunkedEncoding
}

/**
 * Sends an answer whose bytes are ready, in one write, past the making of its head, which with a gathered write of head and body costs a
 * quarter of a hit. False: they are not, or this response needs a head of its own.
 */
export function sendReady (raw: Response, status: number, answer: Prepared, request: FastifyRequest): boolean {
  const { socket } = raw
  if (answer.bytes === undefined || raw._headerSent !== false || !usual(raw, socket) || serverOf(socket) !== answer.server) return false
  raw.statusCode = status
  raw.statusMessage = answer.reason
  // What `headersSent` looks at.
  raw._header = 'sent'
  raw._headerSent = true
  new LastWrite(raw, socket, answer.bytes).make(request)
  return true
}

/** Keeps what a response whose head has just been made is about to send, once that is worth it; `body` is its whole body. */
export function keepReady (raw: Response, answer: Prepared, body: Buffer | undefined): void {
  if (++answer.uses < WORTH_FROM || answer.bytes !== undefined) return
  const { socket, _header: head } = raw
  const length = body?.length ?? 0
  if (typeof head !== 'string' || length > LONGEST || !usual(raw, socket)) return
  answer.server = serverOf(socket)
  answer.reason = raw.statusMessage
  const bytes = answer.bytes = Buffer.allocUnsafeSlow(head.length + length)
  bytes.write(head, 'latin1')
  body?.copy(bytes, head.length)
  ready.add(answer, bytes.length)
}
