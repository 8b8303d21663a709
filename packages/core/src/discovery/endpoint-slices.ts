import { isIP } from 'node:net'
import type { DiscoveredUpstream } from './contract.ts'
import { SameEntries } from './entries.ts'
import { bracketed } from './options.ts'

/** What is read of an EndpointSlice of `discovery.k8s.io/v1`. */
export interface EndpointSlice {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string }
  readonly addressType?: string
  readonly endpoints?: readonly Endpoint[] | null
  readonly ports?: readonly { readonly name?: string | null; readonly port?: number | null; readonly protocol?: string | null }[] | null
}

interface Endpoint {
  readonly addresses: readonly string[]
  readonly conditions?: { readonly ready?: boolean | null; readonly serving?: boolean | null; readonly terminating?: boolean | null } | null
  readonly zone?: string | null
  readonly targetRef?: { readonly uid?: string } | null
}

type Member = Exclude<DiscoveredUpstream, string>

const namesOf = (ports: NonNullable<EndpointSlice['ports']>): string =>
  ports.length === 0 ? 'none' : ports.map(({ name, port, protocol }) => `${JSON.stringify(name ?? '')} (${port ?? 'any'} ${protocol ?? 'TCP'})`).join(', ')

/** Members out of a service's slices. A slice that did not change is not read again. */
export class EndpointSlices {
  readonly #protocol: string
  readonly #port: string | number | undefined
  readonly #slices = new Map<string, readonly Member[]>()
  /** By slice that has endpoints: what it has instead of the port that was asked for, `undefined` where it has that one. */
  readonly #instead = new Map<string, string | undefined>()
  /** By slice: endpoints that did not change stay the same objects. */
  readonly #same = new Map<string, SameEntries<Member>>()

  constructor (protocol: string, port: string | number | undefined) {
    this.#protocol = protocol
    this.#port = port
  }

  set (slice: EndpointSlice): void {
    const { name } = slice.metadata
    let same = this.#same.get(name)
    if (same === undefined) this.#same.set(name, same = new SameEntries())
    this.#slices.set(name, same.of(this.#membersOf(slice)))
    const { endpoints, ports } = slice
    if ((endpoints ?? []).length === 0) this.#instead.delete(name)
    else this.#instead.set(name, this.#portOf(ports ?? []) === undefined ? namesOf(ports ?? []) : undefined)
  }

  delete (name: string): void {
    this.#slices.delete(name)
    this.#same.delete(name)
    this.#instead.delete(name)
  }

  /** What is wrong with the port that was asked for, when no endpoint has it though there are endpoints. */
  get missingPort (): string | undefined {
    let there: string | undefined
    for (const instead of this.#instead.values()) {
      // Slices of one service may differ in their ports while a new version of it is rolled out.
      if (instead === undefined) return undefined
      there = instead
    }
    if (there === undefined) return undefined
    const wanted = this.#port === undefined ? '' : ` ${JSON.stringify(this.#port)}`
    return `no endpoint has the ${this.#transport} port${wanted}; there are: ${there}`
  }

  /** Forgets all slices but these. */
  keepOnly (names: ReadonlySet<string>): void {
    for (const name of this.#slices.keys()) if (!names.has(name)) this.delete(name)
  }

  /**
   * An endpoint may stand in two slices for a while, and in one for each address family; with one server behind it. One that is about to go in one of them
   * never comes back. An address may be that of two endpoints, when one pod comes after another: the one that is ready has it.
   */
  members (): DiscoveredUpstream[] {
    const byName = new Map<string, Member>()
    for (const members of this.#slices.values()) {
      for (const member of members) {
        const name = member.id ?? member.url!
        const twin = byName.get(name)
        byName.set(name, twin === undefined ? member : this.#joined(twin, member))
      }
    }
    const byUrl = new Map<string, Member>()
    let ready = false
    for (const member of byName.values()) {
      const rival = byUrl.get(member.url!)
      if (rival === undefined || (rival.draining === true && member.draining !== true)) byUrl.set(member.url!, member)
      ready ||= member.draining !== true
    }
    const all = [...byUrl.values()]
    // As kube-proxy does (KEP-1669): with nobody else left, those that terminate but still serve are better than nothing.
    return ready ? all : all.map((member) => this.#staying(member))
  }

  #membersOf ({ addressType, endpoints, ports }: EndpointSlice): Member[] {
    const port = this.#portOf(ports ?? [])
    if (port === undefined) return []
    return (endpoints ?? []).flatMap(({ addresses, conditions, zone, targetRef }): Member[] => {
      const [address] = addresses
      // What is not said counts as ready (API reference of EndpointConditions).
      const ready = conditions?.ready !== false
      const serving = conditions?.serving ?? ready
      if (address === undefined || (addressType !== 'FQDN' && isIP(address) === 0) || !(ready || (serving && conditions?.terminating === true))) return []
      return [{
        ...targetRef?.uid !== undefined && /^[\w.~-]{1,128}$/.test(targetRef.uid) && { id: targetRef.uid },
        url: `${this.#protocol}://${bracketed(address)}:${port}`,
        ...zone !== undefined && zone !== null && zone !== '' && { zone },
        draining: !ready
      }]
    })
  }

  get #transport (): string {
    return this.#protocol === 'udp' ? 'UDP' : 'TCP'
  }

  #portOf (ports: NonNullable<EndpointSlice['ports']>): number | undefined {
    const wanted = this.#port
    const fitting = ports.filter(({ protocol }) => (protocol ?? 'TCP') === this.#transport)
    const found = wanted === undefined ? fitting[0] : fitting.find(({ name, port }) => typeof wanted === 'number' ? port === wanted : name === wanted)
    return found?.port ?? undefined
  }

  readonly #pairs = new WeakMap<Member, { readonly other: Member; readonly pair: Member }>()

  /** One server at addresses of both families; the same object for the same two. */
  #joined (one: Member, other: Member): Member {
    if (one.url === other.url) return one.draining === true ? one : other
    const known = this.#pairs.get(one)
    if (known?.other === other) return known.pair
    const hosts = [one, other].map(({ url }) => new URL(url!).hostname.replace(/^\[|\]$/g, '')).sort((a, b) => isIP(a) - isIP(b))
    if (isIP(hosts[0]!) === isIP(hosts[1]!)) return one
    const [first, second] = hosts
    const pair = { ...one, draining: one.draining === true || other.draining === true, url: [one.url!, other.url!].find((url) => !url.includes('['))!, addresses: [second!, first!] }
    this.#pairs.set(one, { other, pair })
    return pair
  }

  readonly #stayers = new WeakMap<Member, Member>()

  #staying (member: Member): Member {
    const known = this.#stayers.get(member) ?? { ...member, draining: false }
    this.#stayers.set(member, known)
    return known
  }
}
