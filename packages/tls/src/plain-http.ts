import type { Socket } from 'node:net'

const BODY = JSON.stringify({
  type: 'about:blank', title: 'Bad Request', status: 400, code: 'HG_TLS_PLAIN_HTTP',
  detail: 'This port speaks HTTPS, and the request came without TLS: use https:// in the address'
})
const ANSWER = `HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(BODY)}\r\nConnection: close\r\n\r\n${BODY}`

/** Milliseconds for the client to take the answer. */
const LINGER = 1000

/** Do these bytes begin a request of plain HTTP, as far as one can tell? No TLS record begins with a letter. */
export function looksLikeHttp (bytes: Buffer): boolean {
  return /^[A-Z]{1,20}(?: |$)/.test(bytes.toString('latin1', 0, 21))
}

/** Says so, and closes. What the client still sends is read away: with bytes unread, closing would take the answer back. */
export function answerPlainHttp (socket: Socket, after: (callback: () => void, ms: number) => unknown): void {
  socket.on('error', () => {})
  socket.resume()
  socket.end(ANSWER)
  after(() => { socket.destroy() }, LINGER)
}
