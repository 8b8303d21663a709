import type { HealthState } from '@headgate/core'
import type { Histogram } from './histogram.ts'
import type { ListenerRecord } from './plugin-records.ts'
import type { Neighbours } from './pools-of.ts'
import type { Recorder } from './recorder.ts'
import type { PoolRecord, RequestCounts, UpstreamRecord } from './records.ts'
import type { PoolAdvice } from './scaling/watch.ts'
import type { Family, Sample } from './view.ts'

const STATES: readonly HealthState[] = ['up', 'degraded', 'ejected', 'down', 'draining', 'maintenance']

type Labels = Readonly<Record<string, string | number>>

function * histogram (labels: Labels, { bounds, counts, sum }: Histogram): Generator<Sample> {
  let count = 0
  for (const [i, bound] of bounds.entries()) {
    count += counts[i]!
    yield { labels: { ...labels, le: bound / 1000 }, value: count, suffix: '_bucket' }
  }
  count += counts[bounds.length]!
  yield { labels: { ...labels, le: '+Inf' }, value: count, suffix: '_bucket' }
  yield { labels, value: sum / 1000, suffix: '_sum' }
  yield { labels, value: count, suffix: '_count' }
}

function * requests (labels: Labels, counts: RequestCounts): Generator<Sample> {
  for (const [method, statusClass, value] of counts.entries()) yield { labels: { ...labels, method, class: statusClass }, value }
}

function * words (labels: Labels, name: string, counts: { entries (): Iterable<[string, number]> }): Generator<Sample> {
  for (const [word, value] of counts.entries()) yield { labels: { ...labels, [name]: word }, value }
}

function * one (labels: Labels, value: number): Generator<Sample> {
  yield { labels, value }
}

/** Every metric of the package: names, texts, and where the numbers come from. Times are in seconds, sizes in bytes. */
export function families (recorder: Recorder, neighbours: Neighbours): Family[] {
  type Samples<R> = (record: R, labels: Labels) => Iterable<Sample>
  const pool = (name: string, type: Family['type'], help: string, samples: Samples<PoolRecord>): Family => ({
    name: `headgate_pool_${name}`, type, help,
    * samples () { for (const record of recorder.current()) yield * samples(record, { pool: record.pool.name }) }
  })
  const upstream = (name: string, type: Family['type'], help: string, samples: Samples<UpstreamRecord>): Family => ({
    name: `headgate_upstream_${name}`, type, help,
    * samples () {
      for (const { pool, upstreams } of recorder.current()) {
        for (const record of upstreams.values()) yield * samples(record, { pool: pool.name, upstream: record.upstream.url })
      }
    }
  })
  const plain = (name: string, type: Family['type'], help: string, samples: () => Iterable<Sample>): Family => ({ name: `headgate_${name}`, type, help, samples })
  const { cache, certificates, compress, compressSkipped, compressFailures, compressLoad, http2Limits, streams } = recorder.plugins
  const listener = (name: string, type: Family['type'], help: string, samples: Samples<ListenerRecord>): Family => plain(`stream_${name}`, type, help, function * () {
    for (const [name, record] of streams) yield * samples(record, { listener: name, protocol: record.protocol })
  })

  return [
    upstream('requests_total', 'counter', 'Attempts that ended, by method and status class (none: no response).', (r, l) => requests(l, r.requests)),
    upstream('attempts_total', 'counter', 'Attempts by how they ended.', (r, l) => words(l, 'outcome', r.outcomes)),
    upstream('choices_total', 'counter', 'Attempts by what made the pool choose the upstream; choice="affinity": the client belongs there.', (r, l) => words(l, 'choice', r.choices)),
    upstream('failures_total', 'counter', 'Attempts that failed, by reason.', (r, l) => words(l, 'reason', r.failures)),
    upstream('retry_attempts_total', 'counter', 'Attempts that were not the first of their request.', (r, l) => one(l, r.retried)),
    upstream('connect_seconds', 'histogram', 'Time to open a connection: DNS, TCP and TLS.', (r, l) => histogram(l, r.connect)),
    upstream('head_seconds', 'histogram', 'Time from the choice of the upstream to its response head.', (r, l) => histogram(l, r.head)),
    upstream('duration_seconds', 'histogram', 'Time from the choice of the upstream to the end of its response.', (r, l) => histogram(l, r.total)),
    upstream('sent_bytes_total', 'counter', 'Bytes of request bodies sent; all bytes for tunnels.', (r, l) => one(l, r.sent)),
    upstream('received_bytes_total', 'counter', 'Bytes of response bodies received; all bytes for tunnels.', (r, l) => one(l, r.received)),
    upstream('in_flight', 'gauge', 'Attempts that run now.', (r, l) => one(l, r.upstream.load.inFlight)),
    upstream('weight', 'gauge', 'Effective weight: configured, times the share that slow start and health allow.', (r, l) => one(l, r.upstream.weight)),
    upstream('configured_weight', 'gauge', 'Weight as configured or set at run time.', (r, l) => one(l, r.upstream.configuredWeight)),
    upstream('connections', 'gauge', 'Connections by what they do.', function * (r, l) {
      const { open, idle, connecting } = r.upstream.transport.stats
      yield { labels: { ...l, state: 'busy' }, value: open - idle }
      yield { labels: { ...l, state: 'idle' }, value: idle }
      yield { labels: { ...l, state: 'connecting' }, value: connecting }
    }),
    upstream('state', 'gauge', 'Its state: 1 for the one that it is in, 0 for the others.', function * (r, l) {
      for (const state of STATES) yield { labels: { ...l, state }, value: r.upstream.health.state === state ? 1 : 0 }
    }),
    upstream('state_changed_timestamp_seconds', 'gauge', 'When its state began, in Unix time.', (r, l) => one(l, r.upstream.health.since / 1000)),
    upstream('transitions_total', 'counter', 'Changes of state, by the new state; ejections are to="ejected".', (r, l) => words(l, 'to', r.transitions)),
    upstream('probes_total', 'counter', 'Active health checks, by result.', (r, l) => words(l, 'result', r.probes)),
    upstream('probe_seconds', 'histogram', 'Time that active health checks took.', (r, l) => histogram(l, r.probe)),
    upstream('info', 'gauge', 'What is configured of it; always 1.', (r, l) => one(
      { ...l, id: r.upstream.id, zone: r.upstream.zone ?? '', priority: r.upstream.priority }, 1
    )),

    pool('requests_total', 'counter', 'Attempts that ended, by method and status class; upstreams that left included.', (r, l) => requests(l, r.requests)),
    pool('duration_seconds', 'histogram', 'Time from the choice of an upstream to the end of its response.', (r, l) => histogram(l, r.total)),
    pool('in_flight', 'gauge', 'Attempts that run now.', (r, l) => one(l, r.pool.inFlight)),
    pool('upstreams', 'gauge', 'Members of the pool.', (r, l) => one(l, r.pool.upstreams.length)),
    pool('ready_upstreams', 'gauge', 'Members that the policy chooses among.', (r, l) => one(l, r.pool.ready.length)),
    pool('panic', 'gauge', 'Whether ejections are overridden, as too few upstreams would be left.', (r, l) => one(l, Number(r.pool.panic))),
    pool('queue_length', 'gauge', 'Requests that wait for an upstream.', (r, l) => one(l, r.pool.queued)),
    pool('queue_wait_seconds', 'histogram', 'Time that requests spent in the queue.', (r, l) => histogram(l, r.queueWait)),
    pool('queue_departures_total', 'counter', 'Requests that left the queue, by how.', (r, l) => words(l, 'outcome', r.departures)),
    pool('retries_total', 'counter', 'Retries, by what made the attempt before fail.', (r, l) => words(l, 'reason', r.retries)),
    pool('retry_budget_exhausted_total', 'counter', 'Retries that were refused for lack of budget.', (r, l) => one(l, r.budgetExhausted)),
    pool('retry_budget_available', 'gauge', 'Retries that could be made now.', (r, l) => one(l, r.pool.retryBudget.available)),
    pool('shed_total', 'counter', 'Requests answered 503 without an attempt, by reason.', (r, l) => words(l, 'reason', r.shed)),

    pool('mirrored_total', 'counter', 'Copies of requests for a shadow pool, by what became of them.', (r, l) => words(l, 'result', r.mirrored)),
    pool('mirror_dropped_total', 'counter', 'Copies that were not sent, or given up, by why.', (r, l) => words(l, 'reason', r.undelivered)),
    pool('mirror_compared_total', 'counter', 'Comparisons of a shadow pool\'s answers with those of clients, by result.', (r, l) => words(l, 'result', r.compared)),
    pool('sticky_total', 'counter', 'What became of sessions (hit, new, rebind, forged …), by the kind of affinity.', function * (r, l) {
      for (const [by, counts] of r.sticky) yield * words({ ...l, by }, 'result', counts)
    }),

    plain('route_requests_total', 'counter', 'Responses to clients, by route, method and status class.', function * () {
      for (const [route, record] of recorder.routes) yield * requests({ route }, record.requests)
    }),
    plain('route_duration_seconds', 'histogram', 'Time from a client\'s request to the end of the response, by route.', function * () {
      for (const [route, record] of recorder.routes) yield * histogram({ route }, record.duration)
    }),

    plain('cache_lookups_total', 'counter', 'Requests that the cache saw, by result.', () => words({}, 'result', cache.lookups)),
    plain('cache_stores_total', 'counter', 'Responses offered to the cache, by whether they were stored.', function * () {
      yield { labels: { stored: 'true' }, value: cache.stored }
      yield { labels: { stored: 'false' }, value: cache.refused }
    }),
    plain('cache_stored_bytes_total', 'counter', 'Bytes of bodies stored.', () => one({}, cache.storedBytes)),
    plain('cache_served_bytes_total', 'counter', 'Bytes of bodies served from the cache.', () => one({}, cache.servedBytes)),
    plain('cache_evictions_total', 'counter', 'Entries evicted for lack of room.', () => one({}, cache.evictions)),
    plain('cache_evicted_bytes_total', 'counter', 'Bytes of bodies evicted.', () => one({}, cache.evictedBytes)),
    plain('cache_entries', 'gauge', 'Responses that are stored now.', function * () { if (neighbours.cache !== undefined) yield * one({}, neighbours.cache.stats.entries) }),
    plain('cache_bytes', 'gauge', 'Bytes that they take, heads included.', function * () { if (neighbours.cache !== undefined) yield * one({}, neighbours.cache.stats.bytes) }),
    plain('cache_purges_total', 'counter', 'Purges, by kind.', () => words({}, 'by', cache.purges)),

    plain('tls_certificate_expiry_timestamp_seconds', 'gauge', 'When a certificate that clients are shown ends, in Unix time.', function * () {
      for (const [certificate, record] of certificates) if (record.notAfter > 0) yield { labels: { certificate }, value: record.notAfter / 1000 }
    }),
    plain('tls_certificate_loads_total', 'counter', 'Certificates loaded, and new ones that could not be used.', function * () {
      for (const [certificate, record] of certificates) {
        yield { labels: { certificate, result: 'loaded' }, value: record.loads }
        yield { labels: { certificate, result: 'failed' }, value: record.failures }
      }
    }),

    plain('http2_limits_total', 'counter', 'Limits of HTTP/2 that clients met, by reason.', () => words({}, 'reason', http2Limits)),

    plain('compress_responses_total', 'counter', 'Responses compressed, by encoding.', function * () {
      for (const [encoding, record] of compress) yield { labels: { encoding }, value: record.responses }
    }),
    plain('compress_in_bytes_total', 'counter', 'Bytes before compression, by encoding.', function * () {
      for (const [encoding, record] of compress) yield { labels: { encoding }, value: record.bytesIn }
    }),
    plain('compress_out_bytes_total', 'counter', 'Bytes after compression, by encoding.', function * () {
      for (const [encoding, record] of compress) yield { labels: { encoding }, value: record.bytesOut }
    }),
    plain('compress_seconds', 'histogram', 'Time from the first to the last byte of a compressed response, by encoding.', function * () {
      for (const [encoding, record] of compress) yield * histogram({ encoding }, record.duration)
    }),
    plain('compress_skipped_total', 'counter', 'Responses that were not compressed though they could have been, by reason.', () => words({}, 'reason', compressSkipped)),
    plain('compress_load_changes_total', 'counter', 'Changes of what is encoded under load, by what it went to.', () => words({}, 'state', compressLoad)),
    plain('compress_failures_total', 'counter', 'Bodies that could not be encoded or decoded, by code.', () => words({}, 'code', compressFailures)),

    listener('ends_total', 'counter', 'Layer 4 connections and UDP sessions that ended, by why.', (r, l) => words(l, 'reason', r.ends)),
    plain('stream_active', 'gauge', 'Layer 4 connections and UDP sessions that are there now.', function * () {
      for (const [listener, { protocol, counters }] of neighbours.stream?.listeners ?? []) yield * one({ listener, protocol }, counters.active)
    }),
    listener('sent_bytes_total', 'counter', 'Bytes from clients to upstreams, of those that ended.', (r, l) => one(l, r.sent)),
    listener('received_bytes_total', 'counter', 'Bytes from upstreams to clients, of those that ended.', (r, l) => one(l, r.received)),
    listener('connect_seconds', 'histogram', 'Time from the choice of the upstream to the connection; for UDP to the first answer.', (r, l) => histogram(l, r.connect)),
    listener('duration_seconds', 'histogram', 'Time that connections and sessions lasted.', (r, l) => histogram(l, r.duration))
  ]
}

/** What scaling advice adds; `headgate_pool_desired_upstreams` is what an autoscaler reads. */
export function scalingFamilies (scaling: { all (): readonly PoolAdvice[] }): Family[] {
  const family = (name: string, help: string, value: (advice: PoolAdvice) => number): Family => ({
    name: `headgate_pool_${name}`, type: 'gauge', help,
    * samples () { for (const advice of scaling.all()) yield { labels: { pool: advice.pool }, value: value(advice) } }
  })
  return [
    family('desired_upstreams', 'Upstreams that the pool should have.', ({ desired }) => desired),
    family('arrival_rate', 'Arrivals per second, averaged for the advice.', ({ arrivalRate }) => arrivalRate),
    family('utilisation_ratio', 'Share of the capacity of the ready upstreams that is used.', ({ utilisation }) => utilisation)
  ]
}
