import { SERIES } from './model.ts'

/** JSON Schemas of the API: they check what comes in and describe what goes out. */

type Schema = Record<string, unknown>

const string: Schema = { type: 'string' }
const number: Schema = { type: 'number' }
const integer: Schema = { type: 'integer' }
const boolean: Schema = { type: 'boolean' }
const nullable: Schema = { type: ['number', 'null'] }
const object = (properties: Schema, required: readonly string[] = Object.keys(properties)): Schema => ({ type: 'object', properties, required })
const list = (items: Schema): Schema => ({ type: 'array', items })
const counts: Schema = { type: 'object', additionalProperties: { type: 'number' } }

const STATES = ['up', 'degraded', 'ejected', 'down', 'draining', 'maintenance']
const state: Schema = { type: 'string', enum: STATES }
const operator: Schema = { type: 'string', enum: ['auto', 'up', 'drain', 'maintenance'] }
const figures: Schema = { rate: number, errorRate: number, p50: nullable, p95: nullable, p99: nullable }

const upstreamProperties: Schema = {
  pool: string, id: string, url: string, state, reason: string, since: number, operator, leaving: boolean, ready: boolean,
  weight: number, configuredWeight: number, zone: string, priority: integer, maxInFlight: nullable, inFlight: integer,
  connections: object({ open: integer, idle: integer }), requests: integer, errors: integer, sent: number, received: number, ...figures
}

export const upstreamView: Schema = object(upstreamProperties)

export const poolView: Schema = object({
  name: string, policy: string, etag: string, upstreams: integer, ready: integer,
  states: object(Object.fromEntries(STATES.map((name) => [name, integer]))),
  panic: boolean, inFlight: integer, maxInFlight: nullable, queued: integer, requests: integer, errors: integer, retries: integer,
  budgetExhausted: integer, shed: integer, retryBudget: number, ...figures,
  advice: { type: ['object', 'null'], properties: { desired: integer, utilisation: number, arrivalRate: number, reason: string } }
})

export const seriesView: Schema = object({
  at: number, step: number, points: integer, series: object(Object.fromEntries(SERIES.map((name) => [name, list(nullable)])))
})

export const upstreamDetail: Schema = object({
  ...upstreamProperties,
  history: list(object({ from: state, to: state, reason: string, forced: boolean, at: number })),
  series: seriesView
})

export const totalView: Schema = object({
  requests: integer, errors: integer, inFlight: integer, queued: integer, ...figures,
  cache: {
    type: ['object', 'null'],
    properties: { hitRatio: nullable, lookups: counts, servedBytes: number, storedBytes: number, evictions: integer }
  },
  compress: { type: ['object', 'null'], properties: { bytesIn: number, bytesOut: number, responses: integer } }
})

export const eventView: Schema = object({
  id: integer, at: number, kind: string, severity: { type: 'string', enum: ['info', 'good', 'warn', 'bad'] }, pool: string, upstream: string,
  url: string, text: string, actor: string
})

const weight: Schema = { type: 'number', minimum: 0, maximum: 65_535 }
const id: Schema = { type: 'string', minLength: 1, maxLength: 128 }
const poolName: Schema = { type: 'string', minLength: 1, maxLength: 256 }

export const addedUpstream: Schema = {
  anyOf: [
    { type: 'string', minLength: 1, maxLength: 2048 },
    {
      type: 'object',
      additionalProperties: false,
      required: ['url'],
      properties: {
        url: { type: 'string', minLength: 1, maxLength: 2048 }, id, weight, zone: { type: 'string', minLength: 1, maxLength: 128 },
        priority: { type: 'integer', minimum: 0, maximum: 255 }, backup: boolean, maxInFlight: { type: 'integer', minimum: 1 }
      }
    }
  ]
}

const reason: Schema = { type: 'string', maxLength: 500 }
const op = (name: string, properties: Schema, required: readonly string[]): Schema => ({
  type: 'object', additionalProperties: false, required: ['op', 'pool', ...required], properties: { op: { const: name }, pool: poolName, ...properties }
})

const splitName: Schema = { type: 'string', minLength: 1, maxLength: 1024 }
const shares: Schema = { type: 'object', minProperties: 1, maxProperties: 1000, additionalProperties: { type: 'number', minimum: 0 } }
const prefix: Schema = { type: 'string', pattern: '^/', maxLength: 8192 }
const plain = (name: string, properties: Schema): Schema => ({
  type: 'object', additionalProperties: false, required: ['op', ...Object.keys(properties)], properties: { op: { const: name }, ...properties }
})

const change: Schema = {
  oneOf: [
    op('add', { upstream: addedUpstream }, ['upstream']),
    op('remove', { id }, ['id']),
    op('weight', { id, weight }, ['id', 'weight']),
    op('state', { id, state: operator, reason }, ['id', 'state']),
    plain('split', { split: splitName, weights: shares }),
    plain('maintenance', { route: prefix, active: boolean })
  ]
}

export const changesBody: Schema = {
  type: 'object', additionalProperties: false, required: ['changes'],
  properties: { changes: { type: 'array', minItems: 1, maxItems: 1000, items: change } }
}

const any: Schema = { type: ['string', 'number', 'boolean'] }
export const planView: Schema = object({
  etag: string,
  diff: list(object({
    pool: string, upstream: string, url: string, split: string, route: string,
    field: { type: 'string', enum: ['member', 'weight', 'operator', 'share', 'maintenance'] }, before: any, after: any
  })),
  warnings: list(string)
})

export const patchBody: Schema = {
  type: 'object', additionalProperties: false, minProperties: 1, properties: { weight, state: operator, reason }
}

export const purgeBody: Schema = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    urls: { type: 'array', maxItems: 1000, items: { type: 'string', maxLength: 8192 } },
    prefixes: { type: 'array', maxItems: 100, items: { type: 'string', maxLength: 8192 } },
    tags: { type: 'array', maxItems: 1000, items: { type: 'string', maxLength: 1024 } },
    all: boolean,
    soft: boolean
  }
}

export const splitBody: Schema = { type: 'object', additionalProperties: false, required: ['weights'], properties: { weights: shares } }
export const maintenanceBody: Schema = {
  type: 'object', additionalProperties: false, required: ['active'],
  properties: { active: boolean, routes: { type: 'array', minItems: 1, maxItems: 1000, items: prefix } }
}
export const routingView: Schema = object({
  etag: string, splits: list(object({ name: string, weights: counts })), routes: list(object({ prefix: string, maintenance: boolean }))
})

export const splitParams: Schema = object({ split: splitName })
export const poolParams: Schema = object({ pool: poolName })
export const upstreamParams: Schema = object({ pool: poolName, id })
export const dryRunQuery: Schema = { type: 'object', properties: { dryRun: { type: 'boolean', default: false } } }
/** Errors as Fastify writes them. */
export const problem: Schema = object({ statusCode: integer, code: string, error: string, message: string }, ['statusCode', 'message'])
export const purged: Schema = object({ purged: integer })
export const upstreamList: Schema = object({ upstreams: list(upstreamView) })
export const poolList: Schema = object({ total: totalView, pools: list(poolView) })
export const eventList: Schema = object({ events: list(eventView) })

const candidate: Schema = object({ id: string, url: string, state, weight: number, inFlight: integer, latency: number, share: number, skipped: string })
export const explanation: Schema = object({
  route: { type: ['string', 'null'] },
  target: string,
  pools: list(object({ pool: string, policy: string, choice: string, upstream: string, panic: boolean, candidates: list(candidate) }))
})
export const explainQuery: Schema = {
  type: 'object',
  additionalProperties: false,
  required: ['url'],
  properties: {
    method: { type: 'string', pattern: '^[A-Za-z-]{1,32}$', default: 'GET' },
    url: { type: 'string', pattern: '^/', maxLength: 8192 },
    ip: { type: 'string', maxLength: 64 },
    header: { type: 'array', maxItems: 50, items: { type: 'string', pattern: '^[!#$%&\'*+.^_`|~\\w-]+:', maxLength: 8192 } }
  }
}
