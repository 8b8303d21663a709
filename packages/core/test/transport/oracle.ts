import { request } from 'node:http'
import { Duplex } from 'node:stream'
import { ResponseParser } from '../../src/transport/response-parser.ts'

/** What came of a response, in a form to compare. */
export interface Told {
  /** Informational statuses but 101. */
  readonly interim: readonly number[]
  readonly status: number
  readonly reason: string
  readonly headers: readonly string[]
  readonly body: string
  readonly trailers: readonly string[]
}

/** Our parser's view of `pieces` and then a clean end; `undefined` when it is refused or not complete. */
export function ours (pieces: readonly Buffer[], method: string): Told | undefined {
  const interim: number[] = []
  let told: Told | undefined
  let body = ''
  let status = 0
  let reason = ''
  let headers: readonly string[] = []
  const parser = new ResponseParser({
    informational: (code) => { interim.push(code) },
    head: (code, text, list) => {
      status = code
      reason = text
      headers = list
    },
    data: (chunk) => { body += chunk.toString('latin1') }
  }, 65_536)
  parser.reset(method)
  try {
    for (const piece of pieces) {
      // A copy: chunks are moved together in place.
      if (!parser.done && !parser.switched) parser.execute(Buffer.from(piece))
    }
  } catch {
    return undefined
  }
  if (parser.end()) told = { interim, status, reason, headers, body, trailers: parser.trailers ?? [] }
  return told
}

/** What llhttp, in Node's own strict client, makes of the same bytes. */
export function theirs (pieces: readonly Buffer[], method: string): Promise<Told | undefined> {
  return new Promise((resolve) => {
    const interim: number[] = []
    const socket = new Duplex({
      allowHalfOpen: true,
      read () {},
      write (_chunk, _encoding, done) { done() }
    })
    const over = (told: Told | undefined): void => {
      resolve(told)
      socket.destroy()
    }
    const client = request({ method, path: '/', headers: { connection: 'close' }, agent: undefined, createConnection: () => socket, insecureHTTPParser: false, maxHeaderSize: 1 << 20, joinDuplicateHeaders: false })
    let whole = (): boolean => false
    // Bytes after the end are an error there, too late to matter for the response.
    client.on('error', () => { if (!whole()) over(undefined) })
    client.on('information', ({ statusCode }) => { interim.push(statusCode) })
    client.on('upgrade', () => { over(undefined) })
    client.on('response', (response) => {
      let body = ''
      whole = () => response.complete
      response.setEncoding('latin1')
      response.on('data', (chunk: string) => { body += chunk })
      response.on('error', () => { if (!response.complete) over(undefined) })
      response.on('close', () => {
        over(response.complete
          ? { interim, status: response.statusCode!, reason: response.statusMessage ?? '', headers: response.rawHeaders, body, trailers: response.rawTrailers }
          : undefined)
      })
    })
    client.end()
    for (const piece of pieces) socket.push(piece)
    socket.push(null)
  })
}
