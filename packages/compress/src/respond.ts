import type { ServerResponse } from 'node:http'
import { type Http2ServerResponse, constants } from 'node:http2'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { channels, type SkipReason } from './channels.ts'
import { collect } from './collect.ts'
import type { Dictionaries, Version } from './dictionaries.ts'
import type { DictionaryEncoding } from './encodings/dictionary.ts'
import type { Encoding } from './encodings/index.ts'
import type { Engine } from './engine.ts'
import { NotAcceptableError } from './errors.ts'
import { BODY_FIELDS, addVary, describeEncoded, fieldOf } from './fields.ts'
import type { MediaKind } from './media.ts'
import type { Accepted } from './negotiate.ts'
import type { BreachMode, CompressSettings } from './options.ts'
import { pad, paddable } from './pad.ts'
import { type Payload, discard, readableOf, wholeOf } from './payload.ts'
import { encodeStream } from './stream.ts'
import { DecodedBody, type Guard, decodeBody } from './transcode.ts'

export type Done = (error?: Error | null, payload?: unknown) => void

/** Milliseconds to wait for the rest of a short body before it is streamed. */
const PATIENCE = 20
/** The same for a body that is to become a dictionary. */
const DICTIONARY_PATIENCE = 2000

/** What all responses of an app share. */
export interface Workshop {
  readonly settings: CompressSettings
  readonly engine: Engine
  readonly guard: Guard
  readonly dictionaries: Dictionaries | undefined
}

/** One response on its way from a payload to another one. */
export class ResponseCoder {
  readonly #shop: Workshop
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #accepted: Accepted
  readonly #kind: MediaKind
  readonly #done: Done
  /** Its versions are kept: the plain body is wanted. */
  readonly #versioned: boolean
  readonly #startedAt: number
  #breach: BreachMode = 'off'
  /** The body had another coding before: its fields have to be written even when it goes out as it is. */
  #decoded = false

  constructor (shop: Workshop, request: FastifyRequest, reply: FastifyReply, accepted: Accepted, kind: MediaKind, versioned: boolean, done: Done) {
    this.#shop = shop
    this.#request = request
    this.#reply = reply
    this.#accepted = accepted
    this.#kind = kind
    this.#versioned = versioned
    this.#done = done
    this.#startedAt = shop.settings.clock.now()
  }

  /** For a body without coding. */
  plain (payload: Payload): void {
    const target = this.#target()
    if (target === null) return this.#refuse(payload)
    if (target === undefined) return this.#done(null, payload)
    if (this.#request.method === 'HEAD' && wholeOf(payload) === undefined) return this.#headOnly(target.name, payload)
    const whole = wholeOf(payload)
    if (whole !== undefined) return this.#whole(whole, target)
    const source = readableOf(payload)
    const length = Number(fieldOf(this.#reply, 'content-length') ?? NaN)
    const limit = this.#versioned ? this.#shop.dictionaries!.maxSize : this.#shop.settings.syncLimit
    if (this.#kind !== 'yes' || length > limit) return this.#stream(source, [], target)
    // One of unknown length may be all there already, as a forwarded one in chunks often is; nothing is sent before the end of this turn anyway.
    const patience = this.#versioned ? DICTIONARY_PATIENCE : Number.isNaN(length) ? 0 : PATIENCE
    collect(source, limit, patience, this.#shop.settings.clock, (error, pieces, whole) => {
      if (error !== null) return this.#fail(error, target.name)
      if (whole) this.#whole(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces), target)
      else this.#stream(source, pieces, target)
    })
  }

  /** For a body with a coding that the client takes. */
  keep (payload: Payload): void {
    addVary(this.#reply, 'Accept-Encoding')
    this.#done(null, payload)
  }

  /** For a body with a coding that the client does not take, or of which the plain body is wanted. */
  transcode (payload: Payload, from: Encoding): void {
    const target = this.#target()
    if (target === null) return this.#refuse(payload)
    if (this.#request.method === 'HEAD') return this.#headOnly(target?.name ?? 'identity', payload)
    this.#decoded = true
    const whole = wholeOf(payload)
    if (whole !== undefined) {
      return decodeBody(whole, from, this.#shop.guard, (error, decoded) => {
        if (error !== null) return this.#fail(error, from.name)
        const worth = target !== undefined && (decoded.length >= this.#shop.settings.threshold || !this.#accepted.identity)
        if (worth) this.#whole(decoded, target)
        else this.#asIs(decoded)
      })
    }
    const source = new DecodedBody(readableOf(payload), from, this.#shop.guard)
    if (target !== undefined) {
      // The announced length was that of the coded body.
      this.#reply.removeHeader('content-length')
      return this.#versioned ? this.plain(source) : this.#stream(source, [], target)
    }
    this.#watch(source, from.name)
    describeEncoded(this.#reply, 'identity', this.#shop.settings.etag, undefined)
    this.#done(null, source)
  }

  /** `undefined`: as it is; `null`: nothing will do. */
  #target (): Encoding | undefined | null {
    const { encodings, identity, prefersIdentity } = this.#accepted
    const { settings } = this.#shop
    addVary(this.#reply, 'Accept-Encoding')
    if (this.#versioned) addVary(this.#reply, 'Available-Dictionary')
    if (identity && (prefersIdentity || this.#kind === 'no')) return undefined
    let name = encodings[0]
    if (name === undefined) return identity || this.#reply.statusCode >= 400 ? undefined : null
    if (settings.breach !== undefined && (this.#request.headers.cookie ?? this.#request.headers.authorization) !== undefined) {
      this.#breach = settings.breach(this.#request)
      if (this.#breach === 'pad') name = encodings.find((candidate) => paddable.has(candidate))
      if ((this.#breach === 'skip' || name === undefined) && identity) {
        this.#skipped('breach', encodings[0]!)
        return undefined
      }
    }
    return settings.encodings.get(name ?? encodings[0]!)!
  }

  #whole (body: Buffer, target: Encoding): void {
    if (!this.#versioned) return this.#encode(body, target)
    const dictionaries = this.#shop.dictionaries!
    const version = dictionaries.remember(this.#request, this.#reply, body)
    const encoding = dictionaries.choose(this.#accepted)
    if (version === undefined || encoding === undefined) return this.#encode(body, target)
    dictionaries.available(this.#request, this.#reply, (dictionary) => {
      if (dictionary === undefined || dictionary.hash === version.hash) this.#encode(body, target)
      else this.#withDictionary(version, dictionary, encoding)
    })
  }

  #encode (body: Buffer, target: Encoding): void {
    const { engine } = this.#shop
    engine.encode(body, target, (error, encoded) => {
      if (error !== null) return this.#fail(error, target.name)
      if (encoded !== undefined) return this.#finish(body, encoded, target)
      if (this.#accepted.identity) {
        this.#skipped('load', target.name)
        return this.#asIs(body)
      }
      engine.encodeAsync(body, target, (error, encoded) => {
        if (error === null) this.#finish(body, encoded, target)
        else this.#fail(error, target.name)
      })
    })
  }

  #finish (body: Buffer, encoded: Buffer, target: Encoding): void {
    if (encoded.length >= body.length && this.#accepted.identity) {
      this.#skipped('larger', target.name)
      return this.#asIs(body)
    }
    const result = this.#breach === 'pad' && paddable.has(target.name) ? pad(encoded, target.name) : encoded
    this.#describe(target.name, result)
    this.#done(null, result)
  }

  #asIs (body: Buffer): void {
    if (this.#decoded) this.#describe('identity', body)
    this.#done(null, body)
  }

  #withDictionary (version: Version, dictionary: Version, encoding: DictionaryEncoding): void {
    this.#shop.dictionaries!.encode(version, dictionary, encoding, (error, encoded) => {
      if (error !== null) return this.#fail(error, encoding.name)
      this.#shop.engine.tell(encoding.name, 'dictionary', version.body.length, encoded.length, this.#startedAt)
      this.#describe(encoding.name, encoded)
      this.#done(null, encoded)
    })
  }

  #stream (source: ReturnType<typeof readableOf>, read: readonly Buffer[], target: Encoding): void {
    const { engine, settings } = this.#shop
    const { identity } = this.#accepted
    const reason = settings.load !== undefined && engine.settings.load!.state === 'skip' ? 'load' : this.#breach === 'pad' ? 'breach' : undefined
    if (reason !== undefined && identity && !this.#decoded) {
      for (const piece of read.toReversed()) source.unshift(piece)
      this.#skipped(reason, target.name)
      return this.#done(null, source)
    }
    const stream = encodeStream({
      source,
      read,
      encoding: target,
      level: engine.level(target),
      progressive: this.#kind === 'progressive',
      size: Number(fieldOf(this.#reply, 'content-length')) || undefined,
      clock: settings.clock,
      finished: (bytesIn, bytesOut) => { engine.tell(target.name, this.#decoded ? 'transcoded' : 'stream', bytesIn, bytesOut, this.#startedAt) }
    })
    this.#watch(stream, target.name)
    describeEncoded(this.#reply, target.name, settings.etag, undefined)
    // The client hears that it is open before there is a first message. What is decoded may yet turn out to be broken.
    if (this.#kind === 'progressive' && !this.#decoded) stream.once('resume', () => { this.#reply.raw.flushHeaders() })
    this.#done(null, stream)
  }

  /** For a whole body. Its length is left to Fastify, which knows whether there are trailers and so none may be named. */
  #describe (encoding: string, body: Buffer): void {
    describeEncoded(this.#reply, encoding, this.#shop.settings.etag, body)
    this.#reply.removeHeader('content-length')
  }

  /** The fields of GET without its body. */
  #headOnly (encoding: string, payload: Payload): void {
    describeEncoded(this.#reply, encoding, this.#shop.settings.etag, undefined)
    this.#done(null, payload)
  }

  #refuse (payload: Payload): void {
    discard(payload)
    this.#dropFields()
    this.#done(new NotAcceptableError([...this.#shop.settings.encodings.keys(), 'identity'].join(', ')))
  }

  /** Fastify answers for a stream that fails before its head is out: then without the fields of the body that will not come. */
  #watch (stream: ReturnType<typeof readableOf>, encoding: string): void {
    stream.on('error', (error: Error) => {
      if (this.#reply.raw.destroyed) return
      const headSent = this.#reply.raw.headersSent
      this.#report(error, encoding, headSent)
      if (headSent) resetStream(this.#reply.raw)
      else this.#dropFields()
    })
  }

  #fail (error: Error, encoding: string): void {
    // Who has gone away is the reason, not the victim.
    if (this.#reply.raw.destroyed) return this.#done(null, undefined)
    this.#report(error, encoding, false)
    this.#dropFields()
    this.#done(error)
  }

  #report (error: Error, encoding: string, headSent: boolean): void {
    const { code = 'unknown' } = error as NodeJS.ErrnoException
    this.#request.log.warn({ err: error, encoding }, 'the body could not be decoded or encoded')
    if (channels.failure.hasSubscribers) channels.failure.publish({ encoding, code, headSent })
  }

  #dropFields (): void {
    for (const name of BODY_FIELDS) {
      this.#reply.removeHeader(name)
      this.#reply.raw.removeHeader(name)
    }
  }

  #skipped (reason: SkipReason, encoding: string): void {
    if (channels.skipped.hasSubscribers) channels.skipped.publish({ reason, encoding })
  }
}

/** Over HTTP/2 Node resets the stream of a response that is only destroyed, as Fastify does, with NO_ERROR, which reads as its end. */
function resetStream (response: ServerResponse): void {
  if (response.req.httpVersionMajor < 2) return
  const { stream } = response as unknown as Partial<Http2ServerResponse>
  if (stream?.closed === false) stream.close(constants.NGHTTP2_INTERNAL_ERROR)
}
