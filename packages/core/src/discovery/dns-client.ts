import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns'
import { connect, isIPv6 } from 'node:net'
import type * as DnsPacket from 'dns-packet'
import type { Answer, DecodedPacket, Packet, SrvData } from 'dns-packet'
import type { Clock } from '../clock.ts'

export interface DnsClientOptions {
  /** `address` or `address:port`, `[v6]:port`; `undefined`: what the system has configured, read anew for each question. */
  readonly servers: readonly string[] | undefined
  /** Milliseconds for one server's answer. */
  readonly timeout: number
}

export interface DnsAnswer {
  /** Data of the records of the asked type, behind any aliases. Empty for names without such records, and for names that do not exist. */
  readonly records: readonly (string | SrvData)[]
  /** Addresses that came along for the names in SRV records, by name in small letters. */
  readonly addresses: ReadonlyMap<string, { readonly found: readonly string[]; readonly ttl: number }>
  /** Seconds that the answer holds, an empty one included (RFC 2308). */
  readonly ttl: number
}

type Format = typeof DnsPacket

// What passes everywhere without fragments (DNS Flag Day 2020).
const PAYLOAD = 1232
/** Seconds for an empty answer that does not say how long it holds. */
const NEGATIVE = 5
const ROUNDS = 2

/**
 * A stub resolver: Node's own tells no TTL of SRV records, nor of empty answers. It asks one server after the other, over UDP and, where
 * the answer does not fit, over TCP. Names are absolute: no search list, no hosts file.
 */
export class DnsClient {
  readonly #options: DnsClientOptions
  readonly #clock: Clock
  #format: Promise<Format> | undefined

  constructor (options: DnsClientOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
  }

  /** Rejects when no server gave an answer that can be trusted. */
  async ask (name: string, type: 'A' | 'AAAA' | 'SRV', signal: AbortSignal): Promise<DnsAnswer> {
    // A new one reads what is configured by now; what `getServers` gives stays as it was first.
    const servers = this.#options.servers ?? new Resolver().getServers()
    // Most processes ask nobody.
    this.#format ??= import('dns-packet')
    const format = await this.#format
    const reasons: string[] = []
    for (let round = 0; round < ROUNDS; round++) {
      for (const server of servers) {
        signal.throwIfAborted()
        try {
          return read(await this.#askOne(format, server, name, type, signal), type)
        } catch (error) {
          signal.throwIfAborted()
          reasons.push(`${server}: ${(error as Error).message}`)
        }
      }
    }
    throw new Error(`${type} of ${name}: ${[...new Set(reasons)].join('; ') || 'there is no server to ask'}`)
  }

  async #askOne (format: Format, server: string, name: string, type: 'A' | 'AAAA' | 'SRV', signal: AbortSignal): Promise<DecodedPacket> {
    const plainly: Packet = { type: 'query', id: randomInt(65_536), flags: format.RECURSION_DESIRED, questions: [{ type, name }] }
    const extended = { ...plainly, additionals: [{ type: 'OPT', name: '.', udpPayloadSize: PAYLOAD, flags: 0, options: [] } as never] }
    const answer = await this.#exchange(format, server, extended, signal)
    // Who does not know EDNS says that it does not understand, or is not able to (RFC 6891 7).
    return ['FORMERR', 'NOTIMP'].includes(codeOf(answer)) ? this.#exchange(format, server, plainly, signal) : answer
  }

  async #exchange ({ decode, encode }: Format, server: string, question: Packet, signal: AbortSignal): Promise<DecodedPacket> {
    const [host, port] = addressOf(server)
    const { timeout } = this.#options
    const bytes = encode(question)
    const heard = (data: Buffer, done: (packet: DecodedPacket) => void): void => { accept(decode, data, question, done) }
    const short = await this.#within<DecodedPacket | undefined>(timeout, signal, (done, failed) =>
      overUdp(host, port, bytes, (data) => { if (isCut(data, question)) done(undefined); else heard(data, done) }, failed))
    return short ?? await this.#within(timeout, signal, (done, failed) => overTcp(host, port, bytes, (data) => { heard(data, done) }, failed))
  }

  /** `begin` gives what ends it. */
  #within<T> (ms: number, signal: AbortSignal, begin: (done: (packet: T) => void, failed: (error: Error) => void) => () => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#clock.clearTimeout(timer)
        signal.removeEventListener('abort', stop)
        close()
      }
      const failed = (error: Error): void => {
        end()
        reject(error)
      }
      const stop = (): void => { failed(new Error('not wanted any more')) }
      const timer = this.#clock.setTimeout(() => { failed(new Error(`no answer within ${ms} ms`)) }, ms)
      signal.addEventListener('abort', stop, { once: true })
      const close = begin((packet) => {
        end()
        resolve(packet)
      }, failed)
    })
  }
}

/**
 * Says a datagram that the answer does not fit? Of such a one nothing else counts (RFC 2181 9), and it may end in the middle of a record. Where it could be
 * anybody's guess, TCP tells.
 */
function isCut (data: Buffer, { id }: Packet): boolean {
  const RESPONSE = 0x80
  const TRUNCATED = 0x02
  return data.length >= 12 && data.readUInt16BE() === id && (data[2]! & (RESPONSE | TRUNCATED)) === (RESPONSE | TRUNCATED)
}

/** Passes on what answers the question; anything else is somebody's guess (RFC 5452 9.1) and is not heard. */
function accept (decode: Format['decode'], data: Buffer, question: Packet, done: (packet: DecodedPacket) => void): void {
  let packet: DecodedPacket
  try {
    packet = decode(data)
  } catch {
    return
  }
  const [asked] = question.questions!
  const [answered] = packet.questions ?? []
  if (packet.type !== 'response' || packet.id !== question.id) return
  if (answered !== undefined && (answered.type !== asked!.type || plain(answered.name) !== plain(asked!.name))) return
  done(packet)
}

function overUdp (host: string, port: number, question: Buffer, got: (data: Buffer) => void, failed: (error: Error) => void): () => void {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4')
  let open = true
  // Connected: the system lets nobody else's datagrams in, and tells of a closed port. Its port is a random one.
  socket.on('message', got)
  socket.on('error', failed)
  socket.connect(port, host, () => { if (open) socket.send(question) })
  return () => {
    open = false
    socket.close()
  }
}

function overTcp (host: string, port: number, question: Buffer, got: (data: Buffer) => void, failed: (error: Error) => void): () => void {
  const socket = connect(port, host)
  let data: Buffer = Buffer.alloc(0)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(question.length)
  socket.on('connect', () => { socket.write(Buffer.concat([length, question])) })
  socket.on('data', (chunk: Buffer) => {
    data = Buffer.concat([data, chunk])
    if (data.length >= 2 && data.length >= 2 + data.readUInt16BE()) got(data.subarray(2, 2 + data.readUInt16BE()))
  })
  socket.on('error', failed)
  socket.on('close', () => { failed(new Error('closed without an answer')) })
  return () => {
    socket.removeAllListeners('close')
    socket.destroy()
  }
}

/** dns-packet's types leave the response code out. */
const codeOf = (packet: DecodedPacket): string => (packet as DecodedPacket & { readonly rcode: string }).rcode

/** One of more than 2^31 counts as 0 (RFC 2181 8). */
const lifeOf = ({ ttl = 0 }: { readonly ttl?: number | undefined }): number => ttl > 0x7fff_ffff ? 0 : ttl

function read (packet: DecodedPacket, type: 'A' | 'AAAA' | 'SRV'): DnsAnswer {
  const rcode = codeOf(packet)
  if (rcode !== 'NOERROR' && rcode !== 'NXDOMAIN') throw new Error(`answered ${rcode}`)
  const answers = (packet.answers ?? []) as readonly (Answer & { readonly ttl?: number; readonly data: unknown })[]
  const records: (string | SrvData)[] = []
  const addresses = new Map<string, { found: string[]; ttl: number }>()
  let ttl = Infinity
  for (const answer of answers) {
    // An alias that changes changes what is behind it.
    if (answer.type !== type && answer.type !== 'CNAME') continue
    ttl = Math.min(ttl, lifeOf(answer))
    if (answer.type === type) records.push(answer.data as string | SrvData)
  }
  if (records.length === 0) ttl = Math.min(ttl, negative(packet))
  for (const extra of (packet.additionals ?? []) as typeof answers) {
    if (extra.type !== 'A' && extra.type !== 'AAAA') continue
    const name = plain(extra.name)
    const { found = [], ttl = Infinity } = addresses.get(name) ?? {}
    addresses.set(name, { found: [...found, extra.data as string], ttl: Math.min(ttl, lifeOf(extra)) })
  }
  return { records, addresses, ttl }
}

/** RFC 2308 5: the lesser of the SOA record's own TTL and its minimum. */
function negative (packet: DecodedPacket): number {
  for (const authority of packet.authorities ?? []) {
    if (authority.type === 'SOA') return Math.min(lifeOf(authority), authority.data.minimum ?? NEGATIVE)
  }
  return NEGATIVE
}

/** Names are compared without case (RFC 4343) and without the root's dot. */
export function plain (name: string): string {
  return name.toLowerCase().replace(/\.$/, '')
}

/** Reads `address`, `address:port` or `[v6]:port`. */
export function addressOf (server: string): [host: string, port: number] {
  const [, bracketed, v4, port = '53'] = /^(?:\[([\da-fA-F:.]+)\]|([\d.]+))(?::(\d+))?$/.exec(server) ?? []
  return [bracketed ?? v4 ?? server, Number(port)]
}
