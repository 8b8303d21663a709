import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AddedUpstream, Change, OperatorState, Plan, RoutingView } from './model.ts'
import type { Question } from './questions.ts'
import * as schemas from './schemas.ts'
import type { Steward } from './steward.ts'

interface InPool { Params: { pool: string }; Querystring: { dryRun: boolean } }
interface AtUpstream { Params: { pool: string; id: string }; Querystring: { dryRun: boolean } }

const tags = ['headgate']
const json = (description: string, schema: object): object => ({ 200: { description, ...schema }, '4xx': { description: 'Refused, and why', ...schemas.problem } })
const ifMatch = { type: 'object', properties: { 'if-match': { type: 'string', description: 'Etag of the pool, or of the plan' } } }

/** What can be looked at. */
export function readRoutes (scope: FastifyInstance, steward: Steward): void {
  const about = async (question: Question, reply: FastifyReply): Promise<unknown> => {
    const { etag, body } = await steward.ask(question)
    if (etag !== '') reply.header('etag', etag)
    return body
  }

  scope.get('/pools', {
    schema: { tags, summary: 'All pools, and what clients see', response: json('Pools', schemas.poolList) }
  }, (_request, reply) => about({ what: 'pools' }, reply))

  scope.get<InPool>('/pools/:pool', {
    schema: { tags, summary: 'One pool; its ETag is what changes are conditional on', params: schemas.poolParams, response: json('The pool', schemas.poolView) }
  }, (request, reply) => about({ what: 'pool', pool: request.params.pool }, reply))

  scope.get<InPool>('/pools/:pool/upstreams', {
    schema: { tags, summary: 'The upstreams of a pool', params: schemas.poolParams, response: json('Upstreams', schemas.upstreamList) }
  }, (request, reply) => about({ what: 'upstreams', pool: request.params.pool }, reply))

  scope.get<AtUpstream>('/pools/:pool/upstreams/:id', {
    schema: { tags, summary: 'One upstream, its past states and its last minutes', params: schemas.upstreamParams, response: json('The upstream', schemas.upstreamDetail) }
  }, (request, reply) => about({ what: 'upstream', ...request.params }, reply))

  scope.get('/routing', {
    schema: { tags, summary: 'Splits with the weights of their pools, and which routes are closed for maintenance', response: json('Routing', schemas.routingView) }
  }, (_request, reply) => about({ what: 'routing' }, reply))

  scope.get<{ Querystring: { pool?: string } }>('/series', {
    schema: {
      tags, summary: 'The last fifteen minutes, second by second, of a pool or of the whole app',
      querystring: { type: 'object', properties: { pool: { type: 'string' } } }, response: json('Series', schemas.seriesView)
    }
  }, (request, reply) => about({ what: 'series', pool: request.query.pool }, reply))

  scope.get<{ Querystring: { after: number; limit: number } }>('/events', {
    schema: {
      tags, summary: 'What happened: changes of state, of membership, retries, sheds, and what operators did',
      querystring: {
        type: 'object',
        properties: { after: { type: 'integer', minimum: 0, default: 0 }, limit: { type: 'integer', minimum: 1, maximum: 1000, default: 200 } }
      },
      response: json('Events, oldest first', schemas.eventList)
    }
  }, (request, reply) => about({ what: 'events', ...request.query }, reply))

  scope.get<{ Querystring: { method: string; url: string; ip?: string; header?: string[] } }>('/explain', {
    schema: {
      tags, summary: 'Where a request would go, and why; nothing is sent. `header` is NAME:VALUE and may be repeated',
      querystring: schemas.explainQuery, response: json('The pools in the order in which they would be asked', schemas.explanation)
    }
  }, (request) => {
    const { method, url, ip, header = [] } = request.query
    const headers = Object.fromEntries(header.map((text) => {
      const colon = text.indexOf(':')
      return [text.slice(0, colon), text.slice(colon + 1).trim()]
    }))
    return steward.explain({ method, url, headers, ...ip !== undefined && { ip } })
  })

  // Compression would hold messages back until a block is full.
  const uncompressed = { compress: false } as object
  scope.get('/stream', {
    ...uncompressed,
    logLevel: 'warn',
    schema: {
      tags, summary: 'Server-sent events: `snapshot` at first, `tick` every second, `event` when something happens',
      response: { 200: { description: 'An endless stream', content: { 'text/event-stream': { schema: { type: 'string' } } } } }
    }
  }, async (request, reply) => {
    const { body } = await steward.ask({ what: 'join', after: Number(request.headers['last-event-id'] ?? 0) || 0 })
    return reply
      .type('text/event-stream')
      .header('cache-control', 'no-store, no-transform')
      .header('x-accel-buffering', 'no')
      .send(steward.audience.join(body as string))
  })
}

/** What can be changed. */
export function changeRoutes (scope: FastifyInstance, steward: Steward): void {
  const change = (request: FastifyRequest, changes: readonly Change[], dryRun: boolean, required = false): Promise<Plan> =>
    steward.change({ changes, dryRun, required }, request)

  scope.post<{ Body: { changes: Change[] } }>('/plan', {
    schema: { tags, summary: 'What changes would do; nothing is changed', body: schemas.changesBody, response: json('The plan', schemas.planView) }
  }, (request) => change(request, request.body.changes, true))

  scope.post<{ Body: { changes: Change[] } }>('/apply', {
    schema: {
      tags, summary: 'Makes changes, all or none; If-Match holds the etag of the plan (412 when the pools have changed since)',
      headers: ifMatch, body: schemas.changesBody, response: json('What was done', schemas.planView)
    }
  }, (request) => change(request, request.body.changes, false, true))

  const one = { params: schemas.upstreamParams, querystring: schemas.dryRunQuery, headers: ifMatch, response: json('What was done, or would be', schemas.planView) }

  scope.post<InPool & { Body: AddedUpstream | string }>('/pools/:pool/upstreams', {
    schema: { tags, summary: 'Adds an upstream', ...one, params: schemas.poolParams, body: schemas.addedUpstream }
  }, (request) => change(request, [{ op: 'add', pool: request.params.pool, upstream: request.body }], request.query.dryRun))

  scope.patch<AtUpstream & { Body: { weight?: number; state?: OperatorState; reason?: string } }>('/pools/:pool/upstreams/:id', {
    schema: { tags, summary: 'Sets its weight, or an operator\'s word on its state: drain, maintenance, up, or auto to take it back', ...one, body: schemas.patchBody }
  }, (request) => {
    const { weight, state, reason = '' } = request.body
    const at = request.params
    const list: Change[] = []
    if (weight !== undefined) list.push({ op: 'weight', ...at, weight })
    if (state !== undefined) list.push({ op: 'state', ...at, state, reason })
    return change(request, list, request.query.dryRun)
  })

  scope.delete<AtUpstream>('/pools/:pool/upstreams/:id', {
    schema: { tags, summary: 'Removes an upstream, which finishes its work first', ...one }
  }, (request) => change(request, [{ op: 'remove', ...request.params }], request.query.dryRun))

  scope.patch<{ Params: { split: string }; Querystring: { dryRun: boolean }; Body: { weights: Record<string, number> } }>('/splits/:split', {
    schema: { tags, summary: 'Sets weights of pools in a split; those that are not named keep theirs', ...one, params: schemas.splitParams, body: schemas.splitBody }
  }, (request) => change(request, [{ op: 'split', split: request.params.split, weights: request.body.weights }], request.query.dryRun))

  const { params: _, ...whole } = one
  scope.put<{ Querystring: { dryRun: boolean }; Body: { active: boolean; routes?: string[] } }>('/maintenance', {
    schema: { tags, summary: 'Closes routes for maintenance, or opens them: those with these prefixes, or all', ...whole, body: schemas.maintenanceBody }
  }, async (request) => {
    const { active } = request.body
    const routes = request.body.routes ?? ((await steward.ask({ what: 'routing' })).body as RoutingView).routes.map(({ prefix }) => prefix)
    return change(request, routes.map((route) => ({ op: 'maintenance', route, active })), request.query.dryRun)
  })

  scope.post('/cache/purge', {
    schema: { tags, summary: 'Removes responses from the cache, or marks them stale', body: schemas.purgeBody, response: json('How many', schemas.purged) }
  }, async (request) => ({ purged: await steward.purge(request.body as object, request) }))
}
