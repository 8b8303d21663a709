import { type Channel, channel } from 'node:diagnostics_channel'
import type { Pool } from '@headgate/core'
import { Histogram } from './histogram.ts'
import { WordCounts } from './records.ts'
import type { Recorder } from './recorder.ts'

/** A field of a message that another package made, perhaps in another version. */
type Message = Readonly<Record<string, unknown>>
const text = (value: unknown, otherwise = 'unknown'): string => typeof value === 'string' && value !== '' ? value : otherwise
const number = (value: unknown): number => typeof value === 'number' && Number.isFinite(value) ? value : 0

export class CacheRecord {
  /** By `hit`, `stale`, `revalidated`, `miss`, `collapsed`, `bypass` … */
  readonly lookups: WordCounts = new WordCounts()
  readonly purges: WordCounts = new WordCounts()
  stored = 0
  refused = 0
  storedBytes = 0
  servedBytes = 0
  evictions = 0
  evictedBytes = 0

  /** Share of the lookups that were answered without asking an upstream; NaN before the first. */
  get hitRatio (): number {
    return (this.lookups.get('hit') + this.lookups.get('stale') + this.lookups.get('collapsed')) / (this.lookups.total - this.lookups.get('bypass'))
  }
}

/** A certificate that clients are shown. */
export interface CertificateRecord {
  /** Milliseconds since the Unix epoch. */
  notAfter: number
  loads: number
  failures: number
}

export class EncodingRecord {
  responses = 0
  bytesIn = 0
  bytesOut = 0
  readonly duration: Histogram

  constructor (bounds: readonly number[]) {
    this.duration = new Histogram(bounds)
  }
}

/** What a layer 4 listener did. Times in milliseconds. */
export class ListenerRecord {
  readonly protocol: string
  /** Connections or sessions that ended, by why: `closed` is the usual one. */
  readonly ends: WordCounts = new WordCounts()
  readonly connect: Histogram
  readonly duration: Histogram
  sent = 0
  received = 0

  constructor (protocol: string, bounds: readonly number[]) {
    this.protocol = protocol
    this.connect = new Histogram(bounds)
    this.duration = new Histogram(bounds)
  }
}

/** Listeners and certificates are configured, so they are few; what a stranger publishes is bounded all the same. */
const NAMES = 1000

/**
 * What the plugins beside the balancer tell. Their channels are named here and not imported, as a user may have any of them, or
 * none; a field that is missing counts as 0. Their messages say nothing of the app: with several apps in one process these figures
 * are the process's.
 */
export class PluginRecords {
  readonly cache: CacheRecord = new CacheRecord()
  readonly compress: Map<string, EncodingRecord> = new Map()
  readonly compressSkipped: WordCounts = new WordCounts()
  readonly compressFailures: WordCounts = new WordCounts()
  /** Changes of the load guard, by the state that it went to. */
  readonly compressLoad: WordCounts = new WordCounts()
  readonly streams: Map<string, ListenerRecord> = new Map()
  readonly certificates: Map<string, CertificateRecord> = new Map()
  /** Limits of HTTP/2 that clients met, by reason. */
  readonly http2Limits: WordCounts = new WordCounts()
  readonly #listeners: readonly (readonly [Channel, (message: unknown) => void])[]

  constructor (recorder: Recorder) {
    const listen = (name: string, take: (message: Message) => void): readonly [Channel, (message: unknown) => void] =>
      [channel(name), (message) => { take(message as Message) }]
    const { cache } = this
    this.#listeners = [
      listen('headgate:cache:lookup', (message) => { cache.lookups.add(text(message['result'])) }),
      listen('headgate:cache:serve', (message) => { cache.servedBytes += number(message['size']) }),
      listen('headgate:cache:store', (message) => {
        if (message['stored'] !== true) cache.refused++
        else {
          cache.stored++
          cache.storedBytes += number(message['size'])
        }
      }),
      listen('headgate:cache:evict', (message) => {
        cache.evictions++
        cache.evictedBytes += number(message['size'])
      }),
      listen('headgate:cache:purge', (message) => { cache.purges.add(text(message['by'])) }),
      listen('headgate:compress:encoded', (message) => {
        const encoding = text(message['encoding'])
        let record = this.compress.get(encoding)
        if (record === undefined) {
          // Encodings are few; a user's own ones are bounded all the same.
          if (this.compress.size >= 16) return
          this.compress.set(encoding, record = new EncodingRecord(recorder.bounds))
        }
        record.responses++
        record.bytesIn += number(message['bytesIn'])
        record.bytesOut += number(message['bytesOut'])
        record.duration.observe(number(message['duration']))
      }),
      listen('headgate:compress:skipped', (message) => { this.compressSkipped.add(text(message['reason'])) }),
      listen('headgate:compress:load', (message) => { this.compressLoad.add(text(message['state'])) }),
      listen('headgate:compress:failure', (message) => { this.compressFailures.add(text(message['code'])) }),
      listen('headgate:stream:end', (message) => { this.#streamEnded(message, recorder.bounds) }),
      listen('headgate:tls:certificate', (message) => { this.#certificate(text(message['name']), text(message['change']), number(message['notAfter'])) }),
      listen('headgate:http2:limit', (message) => { this.http2Limits.add(text(message['reason'])) }),
      listen('headgate:upstream:probe', (message) => {
        const record = recorder.member(message['source'] as Pool, text(message['upstream']))
        record?.probes.add(message['ok'] === true ? 'ok' : 'failed')
        record?.probe.observe(number(message['latency']))
      })
    ]
  }

  #streamEnded (message: Message, bounds: readonly number[]): void {
    const name = text(message['listener'])
    let record = this.streams.get(name)
    if (record === undefined) {
      if (this.streams.size >= NAMES) return
      this.streams.set(name, record = new ListenerRecord(text(message['protocol']), bounds))
    }
    record.ends.add(text(message['reason']))
    record.sent += number(message['sent'])
    record.received += number(message['received'])
    record.duration.observe(number(message['duration']))
    const connect = message['connectLatency']
    if (typeof connect === 'number' && connect >= 0) record.connect.observe(connect)
  }

  #certificate (name: string, change: string, notAfter: number): void {
    if (change === 'removed') return void this.certificates.delete(name)
    let record = this.certificates.get(name)
    if (record === undefined) {
      if (this.certificates.size >= NAMES) return
      this.certificates.set(name, record = { notAfter, loads: 0, failures: 0 })
    }
    if (change === 'loaded') {
      record.notAfter = notAfter
      record.loads++
    } else if (change === 'failed') record.failures++
  }

  start (): void {
    for (const [channel, listener] of this.#listeners) channel.subscribe(listener)
  }

  stop (): void {
    for (const [channel, listener] of this.#listeners) channel.unsubscribe(listener)
  }
}
