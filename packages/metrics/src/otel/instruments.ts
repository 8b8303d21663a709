import type { Attributes, Meter, ObservableResult } from '@opentelemetry/api'
import { type AttemptMessage, type Pool, channels } from '@headgate/core'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { errorType, methodOf, protocolOf, schemeOf, serverOf } from './attributes.ts'

/** The bounds that the conventions advise for durations, in seconds. */
const DURATIONS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const duration = { unit: 's', advice: { explicitBucketBoundaries: DURATIONS } }

/** The conventions' metrics of HTTP clients, from attempts and from the pools' figures. Gives back what ends them. */
export function measureClient (meter: Meter, pools: () => ReadonlyMap<string, Pool> | undefined): () => void {
  const durations = meter.createHistogram('http.client.request.duration', { ...duration, description: 'Duration of HTTP client requests: of each attempt.' })
  const requestSizes = meter.createHistogram('http.client.request.body.size', { unit: 'By', description: 'Size of HTTP client request bodies.' })
  const responseSizes = meter.createHistogram('http.client.response.body.size', { unit: 'By', description: 'Size of HTTP client response bodies.' })
  const onAttempt = (message: unknown): void => {
    const attempt = message as AttemptMessage
    const { source, lease: { upstream }, method, status } = attempt
    // Without a method it is layer 4.
    if (method === '' || pools()?.get(source.name) !== source) return
    const error = errorType(attempt)
    const version = protocolOf(upstream)
    const attributes: Attributes = {
      'http.request.method': methodOf(method), ...serverOf(upstream), 'url.scheme': schemeOf(upstream), 'headgate.pool': source.name,
      ...version !== undefined && { 'network.protocol.version': version },
      ...status > 0 && { 'http.response.status_code': status }, ...error !== undefined && { 'error.type': error }
    }
    durations.record(attempt.duration / 1000, attributes)
    requestSizes.record(attempt.sent, attributes)
    responseSizes.record(attempt.received, attributes)
  }
  channels.attempt.subscribe(onAttempt)

  const active = meter.createObservableUpDownCounter('http.client.active_requests', { unit: '{request}', description: 'Number of active HTTP requests.' })
  const connections = meter.createObservableUpDownCounter('http.client.open_connections', {
    unit: '{connection}', description: 'Number of outbound HTTP connections that are currently active or idle on the client.'
  })
  const each = (observe: (upstream: Pool['upstreams'][number], attributes: Attributes) => void): void => {
    for (const pool of pools()?.values() ?? []) {
      for (const upstream of pool.upstreams) observe(upstream, { ...serverOf(upstream), 'url.scheme': schemeOf(upstream), 'headgate.pool': pool.name })
    }
  }
  const observeActive = (result: ObservableResult): void => {
    each((upstream, attributes) => { result.observe(upstream.load.inFlight, attributes) })
  }
  const observeConnections = (result: ObservableResult): void => {
    each(({ transport: { stats } }, attributes) => {
      result.observe(stats.open - stats.idle, { ...attributes, 'http.connection.state': 'active' })
      result.observe(stats.idle, { ...attributes, 'http.connection.state': 'idle' })
    })
  }
  active.addCallback(observeActive)
  connections.addCallback(observeConnections)
  return () => {
    channels.attempt.unsubscribe(onAttempt)
    active.removeCallback(observeActive)
    connections.removeCallback(observeConnections)
  }
}

/** The conventions' metric of HTTP servers: what clients see. */
export function measureServer (meter: Meter): (request: FastifyRequest, reply: FastifyReply) => void {
  const durations = meter.createHistogram('http.server.request.duration', { ...duration, description: 'Duration of HTTP server requests.' })
  return (request, reply) => {
    const status = reply.raw.statusCode
    const { url } = request.routeOptions
    durations.record(reply.elapsedTime / 1000, {
      'http.request.method': methodOf(request.method), 'url.scheme': request.protocol, 'http.response.status_code': status,
      'network.protocol.version': request.raw.httpVersion === '2.0' ? '2' : request.raw.httpVersion,
      ...url !== undefined && { 'http.route': url }, ...status >= 500 && { 'error.type': String(status) }
    })
  }
}
