// Responses of upstreams and of the app itself go out in the coding that each client takes, and what it saves is counted.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import balancer from '@headgate/balancer'
import compress, { type EncodedMessage } from '@headgate/compress'
import fastify, { type FastifyInstance } from 'fastify'

export async function build (options: { upstreams: string[]; report: (encoding: string, before: number, after: number) => void }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(compress, {
    threshold: 512,
    etag: 'suffix',
    // A form that shows what was typed into it, beside a token: its length must not tell about the token.
    breach: (request) => request.url.startsWith('/account') ? 'skip' : 'off',
    dictionaries: { match: ['/assets/app-*.js'] }
  })
  await app.register(balancer, { pools: { web: options.upstreams }, routes: [{ prefix: '/', pool: 'web' }] })

  const counted = (message: unknown): void => {
    const { encoding, bytesIn, bytesOut } = message as EncodedMessage
    options.report(encoding, bytesIn, bytesOut)
  }
  subscribe('headgate:compress:encoded', counted)
  app.addHook('onClose', async () => { unsubscribe('headgate:compress:encoded', counted) })

  app.get('/account', (_request, reply) => reply.type('text/html').send('<form>…</form>'.repeat(100)))

  // A body that is kept is encoded once for each coding, well and in the background, and served without the plugin's hooks.
  const body = Buffer.from(JSON.stringify(Array.from({ length: 200 }, (_, id) => ({ id, name: `number ${id}` }))))
  const kept = new Map<string, Promise<Buffer>>()
  app.get('/stored', { config: { compress: false } }, async (request, reply) => {
    const encoding = app.compress.negotiate(request.headers['accept-encoding'] as string | undefined, 'application/json', body.length) ?? 'identity'
    if (encoding !== 'identity' && !kept.has(encoding)) kept.set(encoding, app.compress.encode(body, encoding, { static: true }))
    const encoded = await (kept.get(encoding) ?? body)
    const headers: Record<string, string> = { 'content-type': 'application/json', etag: '"1"' }
    app.compress.describe(headers, encoding, encoded)
    return reply.headers(headers).send(encoded)
  })
  return app
}
