import type { TicketStore } from '@headgate/tls'
import type { Colleagues } from '@headgate/workers'

/** Names of secrets that are remembered: those of this time and of the one before, for workers that are late. */
const REMEMBERED = 2
const TOPIC = 'tls.tickets'

type Secret = readonly [name: string, value: string]

/**
 * Keys of TLS tickets for the workers of a machine: a client that comes back meets any of them. The one that speaks for all says which secret is whose
 * time's; all are told, so that the next one to speak says the same.
 */
export class WorkerTickets implements TicketStore {
  readonly #colleagues: Pick<Colleagues, 'ready' | 'on' | 'ask' | 'keep' | 'kept'>

  /** Before others may ask: as soon as they are known. */
  constructor (colleagues: Pick<Colleagues, 'ready' | 'on' | 'ask' | 'keep' | 'kept'>) {
    this.#colleagues = colleagues
    colleagues.on(TOPIC, (secret: Secret) => this.#choose(secret))
  }

  async claim (name: string, value: Buffer): Promise<Buffer> {
    await this.#colleagues.ready
    return Buffer.from(await this.#colleagues.ask('speaker', TOPIC, [name, value.toString('base64url')] satisfies Secret) as string, 'base64url')
  }

  #choose ([name, value]: Secret): string {
    const known = (this.#colleagues.kept(`${TOPIC} kept`) ?? []) as readonly Secret[]
    const there = known.find((secret) => secret[0] === name)
    if (there !== undefined) return there[1]
    void this.#colleagues.keep(`${TOPIC} kept`, [...known, [name, value]].slice(-REMEMBERED))
    return value
  }
}
