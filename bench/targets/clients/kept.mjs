// One request at a time over a kept connection, plain or TLS.
import { connect } from 'node:net'
import { connect as connectSecurely } from 'node:tls'
import { Answer } from './answer.mjs'

export class KeptClient {
  #socket
  #head
  #request
  #answered
  #failed
  #answer = new Answer()

  constructor ({ port, headers = {}, tls }, path) {
    this.#head = ['GET ' + path + ' HTTP/1.1', 'Host: h', ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), ''].join('\r\n')
    this.#request = Buffer.from(`${this.#head}\r\n`)
    if (tls === undefined) {
      const callback = (count, buffer) => {
        this.#take(buffer.latin1Slice(0, count))
        return true
      }
      this.#socket = connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: Buffer.allocUnsafeSlow(16_384), callback } })
    } else this.#socket = connectSecurely({ port, host: '127.0.0.1', rejectUnauthorized: false }).on('data', (data) => { this.#take(data.latin1Slice()) })
    this.#socket.on('error', (error) => { this.#failed(error) }).on('close', () => { this.#failed(new Error('a connection was closed')) })
  }

  #take (piece) {
    const { done, wrong, text } = this.#answer.take(piece)
    if (!done) return
    this.#answer = new Answer()
    if (wrong) return void this.#failed(new Error(text))
    // As a browser, it brings what it was given.
    const cookie = /\r\nset-cookie: ([^;\r]+)/i.exec(text)?.[1]
    if (cookie !== undefined) this.#request = Buffer.from(`${this.#head}Cookie: ${cookie}\r\n\r\n`)
    this.#answered()
  }

  on (answered, failed) {
    this.#answered = answered
    this.#failed = failed
  }

  send () {
    this.#socket.write(this.#request)
  }
}
