import type { Client } from './client.ts'
import { type Connection, evalBuffer } from './connection.ts'
import { RedisAwayError } from './errors.ts'

/** KEYS: the value. ARGV: value, milliseconds to live. Gives what is there then. */
const CLAIM = `
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return redis.call('GET', KEYS[1])`

/**
 * Small values that processes share: keys of TLS tickets, certificates. There is nothing to fall back to here, so everything rejects with
 * `HG_REDIS_AWAY` while Redis is away; who asks keeps what it has.
 */
export class RedisKeyValue {
  readonly #connection: Connection
  readonly #prefix: string

  /** Made by `RedisState.keyValue`. */
  constructor (connection: Connection, prefix: string, name: string) {
    this.#connection = connection
    this.#prefix = `${prefix}:v1:${name}:`
  }

  /** Keeps `value` for `ttl` milliseconds unless a value is kept there already; gives the one that is kept then: all get the same. */
  claim (name: string, value: Buffer, ttl: number): Promise<Buffer> {
    return this.#ask(name, (client, key) => evalBuffer<Buffer>(client, CLAIM, 1, key, value, Math.ceil(ttl)))
  }

  async get (name: string): Promise<Buffer | undefined> {
    return await this.#ask(name, (client, key) => client.getBuffer(key)) ?? undefined
  }

  /** `ttl`: milliseconds to live; without one, for good. */
  async set (name: string, value: Buffer, ttl?: number): Promise<void> {
    await this.#ask(name, (client, key) => ttl === undefined ? client.set(key, value) : client.set(key, value, 'PX', Math.ceil(ttl)))
  }

  /** `false` when there was none. */
  async delete (name: string): Promise<boolean> {
    return await this.#ask(name, (client, key) => client.del(key)) === 1
  }

  /** Nobody's request waits for it, and there is no other answer. */
  async #ask<T> (name: string, question: (client: Client, key: string) => Promise<T>): Promise<T> {
    const connection = this.#connection
    const key = this.#prefix + name
    const patience = Math.max(2000, connection.timeout)
    await connection.connected(patience)
    const session = connection.session(key)
    const answer = await connection.ask((client) => question(client, key), patience)
    // What is kept by one that another took the place of, nobody else will see.
    if (!await connection.holds(session, key)) throw new RedisAwayError('Redis is away: the server that answered is not the primary any more')
    return answer
  }
}
