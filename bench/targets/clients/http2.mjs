// Streams at once over few kept HTTP/2 connections: ten clients share one.
import { connect } from 'node:http2'

const STREAMS = 10
const sessions = new Map()

/** The connection that the next client of this port shares. */
function sessionFor (port) {
  const last = sessions.get(port)
  if (last !== undefined && last.clients < STREAMS) {
    last.clients++
    return last.session
  }
  const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  sessions.set(port, { session, clients: 1 })
  return session
}

export class Http2Client {
  #session
  #headers
  #answered
  #failed

  constructor ({ port }, path) {
    this.#session = sessionFor(port).on('error', (error) => { this.#failed(error) })
    this.#headers = { ':path': path }
  }

  on (answered, failed) {
    this.#answered = answered
    this.#failed = failed
  }

  send () {
    let status
    let length
    let got = 0
    this.#session.request(this.#headers)
      .on('response', (headers) => {
        status = headers[':status']
        length = Number(headers['content-length'])
      })
      // May come before the response in Node's client, which puts that off to the next tick.
      .on('data', (data) => { got += data.length })
      .on('error', (error) => { this.#failed(error) })
      .on('end', () => {
        if (status !== 200 || got !== length) this.#failed(new Error(`status ${status}, ${got} of ${length} bytes`))
        else this.#answered()
      })
  }
}
