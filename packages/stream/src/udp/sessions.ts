import { clientKey } from '../address.ts'
import type { Session } from './session.ts'

/** The sessions of one listener by client, in the order of their last use. Finding, adding, touching and removing are O(1). */
export class Sessions {
  size = 0
  readonly #byAddress = new Map<string, Map<number, Session>>()
  readonly #perClient: Map<string, number> | undefined
  #oldest: Session | undefined
  #newest: Session | undefined

  /** `counting`: keep count of each client's sessions. */
  constructor (counting: boolean) {
    this.#perClient = counting ? new Map() : undefined
  }

  get oldest (): Session | undefined { return this.#oldest }

  find (address: string, port: number): Session | undefined {
    return this.#byAddress.get(address)?.get(port)
  }

  /** Sessions of one client; 0 when they are not counted. */
  of (address: string): number {
    return this.#perClient?.get(clientKey(address)) ?? 0
  }

  add (session: Session): void {
    const { address, port } = session
    let ports = this.#byAddress.get(address)
    if (ports === undefined) this.#byAddress.set(address, ports = new Map())
    ports.set(port, session)
    this.size++
    if (this.#perClient !== undefined) {
      const key = clientKey(address)
      this.#perClient.set(key, (this.#perClient.get(key) ?? 0) + 1)
    }
    this.#append(session)
  }

  remove (session: Session): void {
    const { address, port } = session
    const ports = this.#byAddress.get(address)
    if (ports?.get(port) !== session) return
    ports.delete(port)
    if (ports.size === 0) this.#byAddress.delete(address)
    this.size--
    if (this.#perClient !== undefined) {
      const key = clientKey(address)
      const count = this.#perClient.get(key) ?? 0
      if (count > 1) this.#perClient.set(key, count - 1)
      else this.#perClient.delete(key)
    }
    this.#unlink(session)
  }

  /** It was used just now. */
  touch (session: Session): void {
    if (session === this.#newest) return
    this.#unlink(session)
    this.#append(session)
  }

  * [Symbol.iterator] (): Generator<Session> {
    for (let session = this.#oldest; session !== undefined;) {
      const next: Session | undefined = session.newer
      yield session
      session = next
    }
  }

  #append (session: Session): void {
    session.older = this.#newest
    session.newer = undefined
    if (this.#newest === undefined) this.#oldest = session
    else this.#newest.newer = session
    this.#newest = session
  }

  #unlink (session: Session): void {
    const { older, newer } = session
    if (older === undefined) this.#oldest = newer
    else older.newer = newer
    if (newer === undefined) this.#newest = older
    else newer.older = older
    session.older = session.newer = undefined
  }
}
