import { constants, createDeflate, createInflate, createInflateRaw, deflate as deflateAsync, deflateSync, inflate, inflateRaw } from 'node:zlib'
import type { Coder, Encoding } from './contract.ts'
import { fitted } from './fitted.ts'
import { LONG_LIVED } from './gzip.ts'

/** RFC 9110 8.4.1.2 means zlib's format (RFC 1950); some servers send bare DEFLATE all the same, which this tells apart. */
function isZlib (first: Buffer): boolean {
  return first.length < 2 || ((first[0]! & 0x0f) === 8 && first.readUInt16BE(0) % 31 === 0)
}

export const deflate: Encoding = {
  name: 'deflate',
  levels: { min: 1, max: 9, dynamic: 6, static: 9, least: 1 },
  flushKind: constants.Z_SYNC_FLUSH,
  encodeSync: (body, level) => deflateSync(body, fitted(level, body.length)),
  encode: (body, level, done) => { deflateAsync(body, { level }, done) },
  encoder: (level, longLived) => createDeflate(longLived ? { level, ...LONG_LIVED } : { level }) as unknown as Coder,
  decode: (body, limit, done) => { (isZlib(body) ? inflate : inflateRaw)(body, { maxOutputLength: limit }, done) },
  decoder: (first) => (isZlib(first) ? createInflate() : createInflateRaw()) as unknown as Coder
}
