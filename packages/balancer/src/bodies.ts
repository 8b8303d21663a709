import type { FastifyPluginCallback } from 'fastify'
import fp from 'fastify-plugin'

/**
 * Makes a scope's own routes leave request bodies unread, so that `reply.forward` passes them on byte for byte:
 * `scope.register(bodies)`. Without it, bodies that the app has parsed are serialised again.
 */
export const bodies: FastifyPluginCallback = fp((scope, _options, done) => {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (_request, payload, parsed) => { parsed(null, payload) })
  done()
}, { name: '@headgate/balancer/bodies', fastify: '5.x' })
