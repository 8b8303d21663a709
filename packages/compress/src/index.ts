import './tick-shape.ts'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Background } from './background.ts'
import { Dictionaries } from './dictionaries.ts'
import { Engine } from './engine.ts'
import { FlatFields, addVary, fieldOf, flatField } from './fields.ts'
import { LoadGuard } from './load.ts'
import { MediaTypes } from './media.ts'
import { Negotiator } from './negotiate.ts'
import { type OnHead, withOnHead } from './on-head.ts'
import { type CompressOptions, compressSettings } from './options.ts'
import { type Payload, unwrapResponse } from './payload.ts'
import { RequestSide } from './request-side.ts'
import { type Done, ResponseCoder, type Workshop } from './respond.ts'
import { CompressService } from './service.ts'
import { Guard } from './transcode.ts'

export * from './channels.ts'
export * from './errors.ts'
export type * from './options.ts'
export type { Coder, CodingDone, Encoding, EncodingName, Levels } from './encodings/index.ts'
export type { CompressClock } from './clock.ts'
export type { DictionaryOptions } from './dictionaries.ts'
export type { EtagMode } from './etag.ts'
export type { LoadOptions, LoadState } from './load.ts'
export type { CompressService, EncodeOptions } from './service.ts'
export type { TranscodeOptions } from './transcode.ts'
export { compressSchema } from './options.ts'
export { builtIn as encodings } from './encodings/index.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Negotiation and encoding for those who serve bodies by themselves. */
    compress: CompressService
  }
  interface FastifyContextConfig {
    /** `false`: the route's responses are left alone. */
    compress?: false
  }
}

const NO_TRANSFORM = /(?:^|[\s,])no-transform(?:[\s,]|$)/i

/** May nobody touch this response's body, or has it none? */
function untouchable (request: FastifyRequest, reply: FastifyReply, payload: Payload): boolean {
  const { statusCode } = reply
  if (statusCode < 200 || statusCode === 204 || statusCode === 205 || statusCode === 206) return true
  if ((payload === undefined || payload === null) && request.method !== 'HEAD') return true
  if (reply.hasHeader('content-range') || request.routeOptions.config.compress === false) return true
  return NO_TRANSFORM.test(fieldOf(reply, 'cache-control') ?? '') || NO_TRANSFORM.test(request.headers['cache-control'] ?? '')
}

/** Fields by which it is decided; where an app sets one itself, the hook has to see both. */
const DECIDING = ['content-type', 'content-encoding', 'content-range', 'content-length', 'cache-control', 'vary', 'etag']

/** Bytes of the body, where they are known before it is sent. */
function lengthOf (reply: FastifyReply, payload: Payload): number | undefined {
  if (typeof payload === 'string') return Buffer.byteLength(payload)
  if (Buffer.isBuffer(payload)) return payload.length
  const announced = fieldOf(reply, 'content-length')
  return announced === undefined ? undefined : Number(announced)
}

const plugin: FastifyPluginAsync<CompressOptions> = async (app, options) => {
  const settings = compressSettings(options)
  const { clock } = settings
  const load = settings.load === undefined ? undefined : new LoadGuard(settings.load, clock)
  const background = new Background(settings.backgroundShare, clock, () => load !== undefined && load.state !== 'normal')
  const engine = new Engine({ ...settings, load, background })
  const negotiator = new Negotiator([...settings.encodings.keys()], [...settings.decoders.keys()])
  const media = new MediaTypes(settings.types, settings.exclude)
  const guard = new Guard(settings.transcode ?? {})
  const dictionaries = settings.dictionaries === undefined ? undefined : new Dictionaries(settings.dictionaries)
  const shop: Workshop = { settings, engine, guard, dictionaries }
  const requestSide = new RequestSide(settings, negotiator)
  if (dictionaries?.encodings.length === 0) app.log.warn(`this Node (${process.version}) can encode with no dictionary: clients get none`)

  app.decorate('compress', new CompressService(settings, engine, negotiator, media, guard, dictionaries))
  app.addHook('onRequest', (request, _reply, done) => {
    requestSide.prepare(request)
    if (dictionaries !== undefined && dictionaries.encodings.length > 0) dictionaries.begin(request)
    done()
  })
  /** Would the 200 in whose place a 304 comes vary (RFC 9110 15.4.5), as far as its fields tell? */
  const varies = (request: FastifyRequest, type: string | undefined, control: string | undefined): boolean =>
    type !== undefined && media.kind(type) !== 'no' && request.routeOptions.config.compress !== false &&
    !NO_TRANSFORM.test(control ?? '') && !NO_TRANSFORM.test(request.headers['cache-control'] ?? '')
  /** What the hook below would do, where it would leave the body alone. */
  const onHead: OnHead = (request, reply, status, fields, known) => {
    for (const name of DECIDING) if (reply.hasHeader(name)) return false
    if (status === 304) {
      if (!requestSide.keepsEtag(request, flatField(fields, 'etag'))) return false
      if (varies(request, flatField(fields, 'content-type'), flatField(fields, 'cache-control'))) addVary(new FlatFields(fields), 'Accept-Encoding')
      return true
    }
    const head = request.method === 'HEAD'
    if (status < 200 || status === 204 || status === 205 || status === 206 || (known === 0 && !head)) return true
    if (flatField(fields, 'content-range') !== undefined || request.routeOptions.config.compress === false) return true
    if (NO_TRANSFORM.test(flatField(fields, 'cache-control') ?? '') || NO_TRANSFORM.test(request.headers['cache-control'] ?? '')) return true
    const accepted = negotiator.accept(request.raw.headers['accept-encoding'] as string | undefined)
    const kind = media.kind(flatField(fields, 'content-type'))
    const coding = flatField(fields, 'content-encoding')?.trim().toLowerCase() ?? ''
    if (coding === '' || coding === 'identity') {
      const length = head ? Number(flatField(fields, 'content-length') ?? -1) : known
      if (accepted.identity && (kind === 'no' || (length >= 0 && length < settings.threshold))) return true
      if (!accepted.identity || !accepted.prefersIdentity) return false
    } else {
      const from = settings.decoders.get(coding === 'x-gzip' ? 'gzip' : coding)
      if (from === undefined || settings.transcode === undefined) return true
      if (accepted.weight(from.name) === 0) return false
    }
    if (dictionaries?.concerns(request) === true) return false
    addVary(new FlatFields(fields), 'Accept-Encoding')
    return true
  }
  app.addHook('onSend', withOnHead((request: FastifyRequest, reply: FastifyReply, given: Payload, done: Done) => {
    const payload = unwrapResponse(reply, given)
    if (reply.statusCode === 304) {
      requestSide.restoreEtag(request, reply)
      if (varies(request, fieldOf(reply, 'content-type'), fieldOf(reply, 'cache-control'))) addVary(reply, 'Accept-Encoding')
      return done(null, payload)
    }
    if (untouchable(request, reply, payload)) return done(null, payload)
    const accepted = negotiator.accept(request.raw.headers['accept-encoding'] as string | undefined)
    const kind = media.kind(fieldOf(reply, 'content-type'))
    const coding = fieldOf(reply, 'content-encoding')?.trim().toLowerCase() ?? 'identity'
    const versioned = dictionaries !== undefined && reply.statusCode === 200 && dictionaries.concerns(request)
    if (coding === 'identity' || coding === '') {
      const length = lengthOf(reply, payload)
      if (accepted.identity && (kind === 'no' || (length !== undefined && length < settings.threshold))) return done(null, payload)
      return new ResponseCoder(shop, request, reply, accepted, kind, versioned, done).plain(payload)
    }
    const from = settings.decoders.get(coding === 'x-gzip' ? 'gzip' : coding)
    // What we cannot decode, or somebody coded twice, passes as it is.
    if (from === undefined || settings.transcode === undefined) return done(null, payload)
    const coder = new ResponseCoder(shop, request, reply, accepted, kind, versioned, done)
    if (accepted.weight(from.name) > 0 && !versioned) return coder.keep(payload)
    coder.transcode(payload, from)
  }, onHead))
  app.addHook('onClose', async () => { background.close() })
}

/** The plugin: `await app.register(compress, options)`. */
const compress: FastifyPluginAsync<CompressOptions> = fp(plugin, { name: '@headgate/compress', fastify: '5.x' })
export default compress
