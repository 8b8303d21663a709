import { createHmac, hkdfSync } from 'node:crypto'
import { Signer } from '@fastify/cookie'

/**
 * The secrets, the current one first. Keys are derived for each purpose and pool (RFC 5869), so that what was signed for one
 * pool is worth nothing in another.
 */
export class Keyring {
  readonly #secrets: readonly (string | Buffer)[]

  constructor (secrets: readonly (string | Buffer)[]) {
    this.#secrets = secrets
  }

  /** Signs with the current secret; accepts the older ones too, compared in constant time. */
  signer (purpose: string, pool: string): Signer {
    return new Signer(this.#derive(purpose, pool))
  }

  /** Functions that give an upstream its opaque name, one for each secret. */
  namers (pool: string): ((upstreamId: string) => string)[] {
    return this.#derive('handle', pool).map((key) =>
      (upstreamId) => createHmac('sha256', key).update(upstreamId).digest('base64url').slice(0, 12))
  }

  #derive (purpose: string, pool: string): Buffer[] {
    return this.#secrets.map((secret) => Buffer.from(hkdfSync('sha256', secret, '', `headgate sticky-session ${purpose} ${pool}`, 32)))
  }
}
