import type { Clock } from '@headgate/core'
import { type Cluster, Command, type Redis } from 'ioredis'

/** Other masters that are asked. */
const WITNESSES = 3
/** Milliseconds for their word: nobody's request waits for it. */
const PATIENCE = 1000

const nothing = (): void => {}

/**
 * In a cluster, the node that has a key. One that hung and goes on answers what was sent to it meanwhile before it hears that its replica has been
 * promoted; the others know.
 */
export class SlotOwner {
  readonly #cluster: Cluster
  readonly #clock: Clock
  /** What nodes call themselves; '': one that does not say. */
  readonly #ids: WeakMap<Redis, string> = new WeakMap()
  /** Those of whom an answer is overdue. */
  readonly #silent: WeakSet<Redis> = new WeakSet()

  constructor (cluster: Cluster, clock: Clock) {
    this.#cluster = cluster
    this.#clock = clock
  }

  /** Where questions about a key go now, as far as the client knows. */
  of (key: string): Redis | undefined {
    const owner = this.#cluster.slots[slotOf(key)]?.[0]
    return this.#cluster.nodes('master').find(({ options }) => `${options.host}:${options.port}` === owner)
  }

  /** Is the key still this node's, for those of the others who answer? */
  async holds (key: string, node: Redis): Promise<boolean> {
    const slot = slotOf(key)
    const others = this.#cluster.nodes('master').filter((other) => other !== node).slice(0, WITNESSES)
    const [id, ...owners] = await Promise.all([this.#id(node), ...others.map((other) => this.#ask(other, async () => ownerOf(await other.cluster('SLOTS'), slot)))])
    if (id === '' || owners.every((owner) => owner === undefined || owner === id)) return true
    // Sent on to the new owner, the client learns of it.
    this.#cluster.exists(key).catch(nothing)
    return false
  }

  async #id (node: Redis): Promise<string | undefined> {
    const known = this.#ids.get(node)
    if (known !== undefined) return known
    const id = await this.#ask(node, () => node.cluster('MYID').then(String, () => ''))
    if (id !== undefined) this.#ids.set(node, id)
    return id
  }

  /** One that did not answer in time is not waited for again before it has. */
  #ask<T> (node: Redis, question: () => Promise<T | undefined>): Promise<T | undefined> {
    if (this.#silent.has(node)) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(() => {
        this.#silent.add(node)
        resolve(undefined)
      }, PATIENCE)
      question().catch(nothing).then((answer) => {
        this.#clock.clearTimeout(timer)
        this.#silent.delete(node)
        resolve(answer ?? undefined)
      }, nothing)
    })
  }
}

function slotOf (key: string): number {
  return new Command('exists', [key]).getSlot()
}

/** From `[first, last, [host, port, id], …]` of each range. */
function ownerOf (ranges: unknown, slot: number): string | undefined {
  for (const [first, last, master] of ranges as [number, number, [string, number, string]][]) if (slot >= first && slot <= last) return master[2]
  return undefined
}
