import type { AddressInfo } from 'node:net'
import { LISTEN_PORTS, parseListenPort, refuse } from '@headgate/core'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { addClientCert, clientCertificateOf, dropClientCert } from './client-certificate.ts'
import { MisdirectedError } from './errors.ts'
import { hstsValue } from './hsts.ts'
import type { RedirectOptions } from './options.ts'
import { Redirect } from './redirect.ts'
import type { Tls } from './tls.ts'

/** Milliseconds that handshakes may go on when the app closes. */
const HANDSHAKES = 1000

/** What an app's requests get: fields and headers. Start and end are elsewhere. */
export function fieldsFor (tls: Tls): FastifyPluginAsync {
  const { hsts = false, forwardClientCertificate = true, misdirected = 'refuse' } = tls.options
  return fp(async (app) => {
    app.decorate('tls', tls)
    app.decorateRequest('clientCertificate', { getter (this: FastifyRequest) { return clientCertificateOf(this.raw) } })
    const header = hsts === false ? undefined : hstsValue(hsts === true ? {} : hsts)
    app.addHook('onRequest', (request, reply, done) => {
      const { raw } = request
      if (misdirected === 'refuse') {
        const host = tls.misdirectedHost(raw)
        if (host !== '') return done(new MisdirectedError(host))
      }
      dropClientCert(raw)
      if (forwardClientCertificate) {
        const certificate = clientCertificateOf(raw)
        if (certificate?.authorized === true) addClientCert(raw, certificate)
      }
      if (header !== undefined && request.protocol === 'https') reply.header('strict-transport-security', header)
      done()
    })
  }, { name: '@headgate/tls', fastify: '5.x' })
}

/** The part that lives in the app: request fields, headers, redirect, and the start and end of everything else. */
export function pluginFor (tls: Tls): FastifyPluginAsync {
  const { redirect = false } = tls.options
  const fields = fieldsFor(tls)
  return fp(async (app) => {
    await app.register(fields)
    app.addHook('onReady', async () => { tls.start(app.log) })
    app.addHook('preClose', async () => { tls.clock.setTimeout(() => { tls.closeGate() }, HANDSHAKES) })
    app.addHook('onClose', async () => { tls.stop() })

    if (redirect !== false) redirectFor(app, tls, redirect === true ? {} : redirect)
    // The authority asks where the app listens.
    app.addHook('onListen', async () => { tls.acme?.start(app.log) })
  }, { name: '@headgate/tls/edge', fastify: '5.x' })
}

/** Listens for plain HTTP from when the app is ready until it is closed. */
function redirectFor (app: FastifyInstance, tls: Tls, { listen = ':80', port, challenge }: RedirectOptions): void {
  const { host = '::', port: at } = parseListenPort(listen) ?? refuse('options.redirect.listen', `must be ${LISTEN_PORTS}`, listen)
  const redirect = tls.redirect = new Redirect({ host, port: at }, {
    port: () => port ?? (app.server.address() as AddressInfo | null)?.port ?? 443,
    challenge: async (token) => await tls.acme?.storage.token(token) ?? challenge?.(token),
    failed: (error) => { app.log.error({ err: error }, 'an ACME challenge could not be looked up') }
  })
  // Not onListen: nobody waits for that, and an address that is taken has to end the start.
  app.addHook('onReady', async () => {
    // The one before listens there until this one takes its place.
    if (redirect.isAt(tls.before?.redirect)) return
    await redirect.open()
    app.log.info({ address: redirect.address }, 'redirecting to HTTPS')
  })
  app.addHook('onClose', async () => redirect.close())
}
