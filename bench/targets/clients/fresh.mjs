// A new connection for each request, plain or TLS, without a session that would be resumed; it is closed when the server has ended it.
import { connect } from 'node:net'
import { connect as connectSecurely } from 'node:tls'
import { Answer } from './answer.mjs'

export class FreshClient {
  #connect
  #request
  #answered
  #failed

  constructor ({ port, tls }, path) {
    this.#connect = () => tls === undefined
      ? connect({ port, host: '127.0.0.1', noDelay: true })
      : connectSecurely({ port, host: '127.0.0.1', rejectUnauthorized: false })
    this.#request = `GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`
  }

  on (answered, failed) {
    this.#answered = answered
    this.#failed = failed
  }

  send () {
    const answer = new Answer()
    let state = { done: false }
    this.#connect()
      .on('error', (error) => { this.#failed(error) })
      .on('data', (data) => { state = answer.take(data.latin1Slice()) })
      .on('close', () => {
        if (!state.done || state.wrong) this.#failed(new Error(answer.text || 'a connection was closed'))
        else this.#answered()
      })
      .write(this.#request)
  }
}
