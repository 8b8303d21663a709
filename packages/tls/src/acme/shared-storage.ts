import { randomBytes } from 'node:crypto'
import type { MaybePromise } from '../options.ts'
import { type CertificateStorage, isHost, isToken, LOCK } from './storage.ts'

/** Small values that all processes share, and that each of them can read at any time: `redis.keyValue(name)` of `@headgate/redis` is one. */
export interface AcmeStore {
  /** `undefined`: there is none. */
  get (name: string): MaybePromise<Buffer | undefined>
  /** `ttl`: milliseconds to live; without one, for good. */
  set (name: string, value: Buffer, ttl?: number): MaybePromise<void>
  delete (name: string): MaybePromise<unknown>
  /** Keeps `value` for `ttl` milliseconds unless a value is kept there already; gives the one that is kept then. */
  claim (name: string, value: Buffer, ttl: number): MaybePromise<Buffer>
}

/** Authorities look within seconds; what a process left behind that died meanwhile ends by itself. */
const CHALLENGE = 3_600_000
const ACCOUNT = 315_360_000_000

/** What processes of several machines share without a folder. */
export class SharedAcmeStorage implements CertificateStorage {
  readonly #store: AcmeStore

  constructor (store: AcmeStore) {
    this.#store = store
  }

  async prepare (): Promise<void> {}

  async certificate (name: string): Promise<Buffer | undefined> {
    return this.#store.get(`certificate-${name}`)
  }

  async saveCertificate (name: string, pem: string): Promise<void> {
    await this.#store.set(`certificate-${name}`, Buffer.from(pem))
  }

  async accountKey (authority: string, create: () => Promise<Buffer>): Promise<Buffer> {
    const name = `account-${authority}`
    return await this.#store.get(name) ?? this.#store.claim(name, await create(), ACCOUNT)
  }

  async saveToken (token: string, text: string): Promise<void> {
    if (!isToken(token)) throw new Error('the authority sent a token that is none')
    await this.#store.set(`token-${token}`, Buffer.from(text), CHALLENGE)
  }

  async dropToken (token: string): Promise<void> {
    await this.#store.delete(`token-${token}`)
  }

  async token (token: string): Promise<string | undefined> {
    return isToken(token) ? (await this.#store.get(`token-${token}`))?.toString() : undefined
  }

  async saveProof (host: string, pem: string): Promise<void> {
    await this.#store.set(`proof-${host}`, Buffer.from(pem), CHALLENGE)
  }

  async dropProof (host: string): Promise<void> {
    await this.#store.delete(`proof-${host}`)
  }

  async proof (host: string): Promise<Buffer | undefined> {
    return isHost(host) ? this.#store.get(`proof-${host}`) : undefined
  }

  async lock (name: string): Promise<(() => Promise<void>) | undefined> {
    const key = `lock-${name}`
    const own = randomBytes(12)
    if (!(await this.#store.claim(key, own, LOCK)).equals(own)) return undefined
    return async () => {
      // After so long it may be another one's.
      if ((await this.#store.get(key))?.equals(own) === true) await this.#store.delete(key)
    }
  }
}
