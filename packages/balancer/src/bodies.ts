import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyPluginCallback, preParsingHookHandler } from 'fastify'
import fp from 'fastify-plugin'

const STAND_IN = 'application/octet-stream'
/** `type/subtype`, with parameters or without. */
const MEDIA_TYPE = /^\s*[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+\s*(?:;|$)/
/** Requests whose Content-Type Fastify would refuse, and what it was. */
const hidden = new WeakMap<IncomingMessage, string | undefined>()

/**
 * Fastify answers a malformed Content-Type with 415 and a QUERY without one with 400. Of a body that is passed on unread, that is the
 * upstream's to judge: the parser sees another one, and nobody else does.
 */
export const anyType: preParsingHookHandler = (request, _reply, payload, done) => {
  const { headers } = request.raw
  const type = headers['content-type']
  if (type === undefined ? request.method === 'QUERY' : !MEDIA_TYPE.test(type)) {
    hidden.set(request.raw, type)
    headers['content-type'] = STAND_IN
  }
  done(null, payload)
}

/** Leaves the bodies of all types unread in a scope; its routes need {@link anyType} too. */
export function leaveUnread (scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (request, payload, done) => {
    const { raw } = request
    if (hidden.has(raw)) {
      const type = hidden.get(raw)
      if (type === undefined) delete raw.headers['content-type']
      else raw.headers['content-type'] = type
    }
    done(null, payload)
  })
}

/**
 * Makes a scope's own routes leave request bodies unread, so that `reply.forward` passes them on byte for byte:
 * `scope.register(bodies)`. Without it, bodies that the app has parsed are serialised again.
 */
export const bodies: FastifyPluginCallback = fp((scope, _options, done) => {
  leaveUnread(scope)
  scope.addHook('preParsing', anyType)
  done()
}, { name: '@headgate/balancer/bodies', fastify: '5.x' })
