// A site's front: HTTPS for two hosts with HTTP/2, plain HTTP redirected, staff by client certificate. Certificates are files that
// some other program renews (or see `acme` of @headgate/tls); who replaces them need not tell anybody.
import balancer from '@headgate/balancer'
import { createTls, type PemOrFile } from '@headgate/tls'
import fastify, { type FastifyInstance } from 'fastify'

export interface Options {
  shop: { cert: string; key: string }
  intranet: { cert: string; key: string }
  /** Who issues the certificates of the staff. */
  staff: PemOrFile
  upstreams: { shop: string[]; intranet: string[] }
  /** Where plain HTTP is redirected. */
  plain?: string
}

export async function build ({ shop, intranet, staff, upstreams, plain = ':80' }: Options): Promise<FastifyInstance> {
  const edge = await createTls({
    certificates: [{ name: 'shop', ...shop }, { name: 'intranet', ...intranet }],
    clientCertificates: { verify: 'optional', ca: staff },
    hsts: true,
    redirect: { listen: plain }
  })
  const app = fastify({ ...edge.server })
  await app.register(edge.plugin)
  // Upstreams of the intranet also get the certificate, as Client-Cert (RFC 9440).
  app.addHook('onRequest', async (request, reply) => {
    if (request.hostname === 'intranet.example' && request.clientCertificate === null) return reply.code(403).send({ message: 'staff only' })
  })
  await app.register(balancer, {
    pools: { shop: upstreams.shop, intranet: upstreams.intranet },
    routes: [{ prefix: '/', rules: [{ match: { host: 'intranet.example' }, pool: 'intranet' }, { pool: 'shop' }] }]
  })
  return app
}
