import type { ServerResponse } from 'node:http'
import type { Writable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { isObserved } from './route-context.ts'
import { Scope, ScopedWrite } from './scope.ts'
import { type TurnWrite, writeInTurn } from './turn-writes.ts'

/** Up to this size a body goes out in one string with its head, cheaper than a gathered write of two, and waits for others to be written with. */
export const JOIN_LIMIT = 8192

/** What ends a response: its last bytes, and the end. */
export class LastWrite implements TurnWrite {
  readonly #raw: ServerResponse
  readonly #to: Writable
  readonly #data: Buffer | string

  /** `to`: the response, or its socket for `data` that begins with the head. Text is latin1. */
  constructor (raw: ServerResponse, to: Writable, data: Buffer | string) {
    this.#raw = raw
    this.#to = to
    this.#data = data
  }

  /** With the others of its turn, if it is short. */
  make (request: FastifyRequest): void {
    if (this.#data.length > JOIN_LIMIT) return this.writeNow()
    writeInTurn(isObserved(request) ? new ScopedWrite(new Scope(), this) : this)
  }

  writeNow (): void {
    const raw = this.#raw
    const { socket } = raw
    // The client has left meanwhile, or somebody else has ended the response.
    if (socket === null || raw.destroyed) return
    // TLS tells only later that it has enciphered a piece: the end, which is an empty write then, would wait for a turn of its own.
    const encrypted = 'encrypted' in socket
    // A response's write that is not corked by us is put off to the next tick by Node.
    const corked = encrypted || this.#to !== socket
    if (corked) socket.cork()
    if (typeof this.#data === 'string') this.#to.write(this.#data, 'latin1')
    else this.#to.write(this.#data)
    if (corked && !encrypted) socket.uncork()
    raw.end()
    if (encrypted) socket.uncork()
  }
}
