import type { FastifyRequest } from 'fastify'
import { optionsCheck, refuse } from './check-options.ts'
import { type CompressClock, systemClock } from './clock.ts'
import type { DictionaryOptions } from './dictionaries.ts'
import { type Encoding, type EncodingName, builtIn, encodingNames } from './encodings/index.ts'
import type { EtagMode } from './etag.ts'
import type { LoadOptions } from './load.ts'
import type { TranscodeOptions } from './transcode.ts'

/** What is done about responses in which secrets and reflected input could be compressed together. */
export type BreachMode = 'off' | 'pad' | 'skip'

export interface LevelOptions {
  /** For bodies made anew for each request. */
  readonly dynamic?: number
  /** For bodies that are kept; made in the background. */
  readonly static?: number
}

export interface MemoOptions {
  /** Bytes of bodies kept, plain and encoded together, 0–4,294,967,296; 0: none. @default 33554432 */
  readonly maxBytes?: number
  /** Hits after which a body is encoded again at static level, 1 or more. @default 16 */
  readonly upgradeAfter?: number
}

export interface CompressOptions {
  /**
   * Codings to offer, best first: names, or objects of your own. A name that the running Node lacks is passed over.
   * @default ['zstd', 'br', 'gzip', 'deflate']
   */
  readonly encodings?: readonly (EncodingName | Encoding)[]
  /** Levels by coding. @default br 4 (static 11), gzip and deflate 6 (9), zstd 3 (19) */
  readonly levels?: Readonly<Record<string, LevelOptions>>
  /** Bytes from which on a body of known length is encoded, 0–1,073,741,824. @default 1024 */
  readonly threshold?: number
  /** Longest body, in bytes, that is encoded in the event loop's own thread, 0–1,048,576. @default 65536 */
  readonly syncLimit?: number
  /** Further types to encode, `type/subtype` or `type/*`. @default [] */
  readonly types?: readonly string[]
  /** Types never to encode, `type/subtype` or `type/*`. @default [] */
  readonly exclude?: readonly string[]
  /** What becomes of strong entity tags: `weak` or with a `suffix` that is taken off again for the upstream. @default 'weak' */
  readonly etag?: EtagMode
  /** What upstreams are told in Accept-Encoding: what the client takes and we can decode; `identity`; or the client's own field. @default 'normalised' */
  readonly upstream?: 'normalised' | 'identity' | 'untouched'
  /** Bounds of decoding what the client does not take; `false`: such bodies are passed on as they are. @default {} */
  readonly transcode?: false | TranscodeOptions
  /** Bodies that come again, by content. `false`: none is kept. @default {} */
  readonly memo?: false | MemoOptions
  /** Share of one core for encodings at static level, 0–1; 0: none are made. @default 0.25 */
  readonly backgroundShare?: number
  /** When to save work; `false`: never. @default {} */
  readonly load?: false | LoadOptions
  /** Mitigation of BREACH, for all responses or by request. @default 'off' */
  readonly breach?: BreachMode | ((request: FastifyRequest) => BreachMode)
  /** Compression Dictionary Transport (RFC 9842) for these assets. @default none */
  readonly dictionaries?: DictionaryOptions
  /** Where time comes from: for tests. @default the system's */
  readonly clock?: CompressClock
}

/** The options, checked and complete. */
export interface CompressSettings {
  readonly encodings: ReadonlyMap<string, Encoding>
  readonly decoders: ReadonlyMap<string, Encoding>
  readonly levels: ReadonlyMap<string, { readonly dynamic: number; readonly static: number }>
  readonly threshold: number
  readonly syncLimit: number
  readonly types: readonly string[]
  readonly exclude: readonly string[]
  readonly etag: EtagMode
  readonly upstream: 'normalised' | 'identity' | 'untouched'
  readonly transcode: TranscodeOptions | undefined
  readonly memory: number
  readonly upgradeAfter: number
  readonly backgroundShare: number
  readonly load: LoadOptions | undefined
  readonly breach: ((request: FastifyRequest) => BreachMode) | undefined
  readonly dictionaries: DictionaryOptions | undefined
  readonly clock: CompressClock
}

const bytes = (maximum: number): object => ({ type: 'integer', minimum: 0, maximum, unit: 'bytes' })
const object = (properties: object): object => ({ type: 'object', additionalProperties: false, properties })
const orFalse = (properties: object): object => ({ anyOf: [{ const: false }, object(properties)] })
const typeList = { type: 'array', items: { type: 'string', pattern: '^[a-z0-9!#$&^_.+-]+/(?:\\*|[a-z0-9!#$&^_.+-]+)$' } }
const share = { type: 'number', minimum: 0, maximum: 1 }

/** JSON Schema of {@link CompressOptions}; `unit` tells sizes from other numbers. */
export const compressSchema: Readonly<Record<string, unknown>> = {
  type: 'object',
  additionalProperties: false,
  properties: {
    encodings: {
      type: 'array',
      minItems: 1,
      items: { anyOf: [{ enum: encodingNames }, { type: 'object', required: ['name', 'levels', 'flushKind', 'encodeSync', 'encode', 'encoder', 'decode', 'decoder'] }] }
    },
    levels: {
      type: 'object',
      additionalProperties: object({ dynamic: { type: 'integer' }, static: { type: 'integer' } } satisfies Record<keyof LevelOptions, object>)
    },
    threshold: bytes(1_073_741_824),
    syncLimit: bytes(1_048_576),
    types: typeList,
    exclude: typeList,
    etag: { enum: ['weak', 'suffix'] },
    upstream: { enum: ['normalised', 'identity', 'untouched'] },
    transcode: orFalse({
      maxRatio: { type: 'number', minimum: 1, maximum: 100_000 },
      maxBytes: { type: 'integer', minimum: 1, unit: 'bytes' }
    } satisfies Record<keyof TranscodeOptions, object>),
    memo: orFalse({ maxBytes: bytes(4_294_967_296), upgradeAfter: { type: 'integer', minimum: 1 } } satisfies Record<keyof MemoOptions, object>),
    backgroundShare: share,
    load: orFalse({ lowerAt: share, skipAt: share, queue: { type: 'integer', minimum: 1 } } satisfies Record<keyof LoadOptions, object>),
    breach: { anyOf: [{ enum: ['off', 'pad', 'skip'] }, { isFunction: true }] },
    dictionaries: {
      ...object({
        match: { type: 'array', minItems: 1, items: { type: 'string', pattern: '^/[A-Za-z0-9/_.~%!$&\',;=@*-]*$' } },
        maxBytes: bytes(4_294_967_296),
        maxSize: bytes(67_108_864),
        versions: { type: 'integer', minimum: 1, maximum: 64 }
      } satisfies Record<keyof DictionaryOptions, object>),
      required: ['match']
    },
    clock: { type: 'object' }
  } satisfies Record<keyof CompressOptions, object>
}

const check = optionsCheck(compressSchema)

/** Checks options once. Throws `HG_COMPRESS_OPTION` with the option's path. */
export function compressSettings (options: CompressOptions): CompressSettings {
  check(options, 'options')
  const encodings = new Map<string, Encoding>()
  for (const [index, given] of (options.encodings ?? encodingNames).entries()) {
    const encoding = typeof given === 'string' ? builtIn.get(given) : given
    if (encoding === undefined) continue
    if (encodings.has(encoding.name)) refuse(`options.encodings[${index}]`, 'is there already', encoding.name)
    encodings.set(encoding.name, encoding)
  }
  if (encodings.size === 0) refuse('options.encodings', `must hold one that this Node has: ${[...builtIn.keys()].join(', ')}`, options.encodings)
  for (const name of Object.keys(options.levels ?? {})) {
    if (!encodings.has(name) && !(encodingNames as readonly string[]).includes(name)) refuse(`options.levels.${name}`, `must be one of ${[...encodings.keys()].join(', ')}`, name)
  }
  const { lowerAt = 0.9, skipAt = 0.98 } = options.load === false ? {} : options.load ?? {}
  if (lowerAt > skipAt) refuse('options.load.lowerAt', `must not be above skipAt (${skipAt})`, lowerAt)
  const { breach = 'off' } = options
  const known = new Map([...builtIn, ...encodings])
  return Object.freeze({
    encodings,
    decoders: new Map([...known].filter(([, { decodes }]) => decodes !== false)),
    levels: new Map([...known].map(([name, encoding]) => [name, levelsOf(encoding, options.levels?.[name] ?? {})])),
    threshold: options.threshold ?? 1024,
    syncLimit: options.syncLimit ?? 65_536,
    types: options.types ?? [],
    exclude: options.exclude ?? [],
    etag: options.etag ?? 'weak',
    upstream: options.upstream ?? 'normalised',
    transcode: options.transcode === false ? undefined : options.transcode ?? {},
    memory: options.memo === false ? 0 : options.memo?.maxBytes ?? 33_554_432,
    upgradeAfter: options.memo === false ? 0 : options.memo?.upgradeAfter ?? 16,
    backgroundShare: options.backgroundShare ?? 0.25,
    load: options.load === false ? undefined : options.load ?? {},
    breach: breach === 'off' ? undefined : typeof breach === 'function' ? breach : () => breach,
    dictionaries: options.dictionaries,
    clock: options.clock ?? systemClock
  })
}

function levelsOf ({ name, levels }: Encoding, given: LevelOptions): { dynamic: number; static: number } {
  for (const which of ['dynamic', 'static'] as const) {
    const level = given[which]
    if (level !== undefined && (level < levels.min || level > levels.max)) refuse(`options.levels.${name}.${which}`, `must be ${levels.min}–${levels.max}`, level)
  }
  return { dynamic: given.dynamic ?? levels.dynamic, static: given.static ?? levels.static }
}
