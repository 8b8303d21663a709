import { connect, constants, type IncomingHttpHeaders } from 'node:http2'
import { isIP } from 'node:net'
import { failed, hasStream, type Probe, type ProbeKind, type ProbeResult, type ProbeTarget, failedBy } from './contract.ts'

export interface GrpcProbeOptions {
  /** Name of the service to ask for. @default '' (the server as a whole) */
  readonly service?: string
  /** Whether TLS is spoken. @default true for `https:` and `tls:` upstreams, else false */
  readonly secure?: boolean
}

// grpc.health.v1.HealthCheckResponse.ServingStatus
const SERVING = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN']
/** A response is a handful of bytes; what is longer is none. */
const LIMIT = 1024

/** A message of one field (1, length-delimited) in a gRPC frame: not compressed, 32-bit length (gRPC over HTTP/2, Length-Prefixed-Message). */
export function requestFrame (service: string): Buffer {
  const name = Buffer.from(service)
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, name.length]), name])
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

/** The status in a response's frame: field 1, a varint; 0 when it is left out (proto3). `undefined`: not such a frame. */
export function readStatus (frame: Buffer): number | undefined {
  if (frame.length < 5 || frame[0] !== 0) return undefined
  const message = frame.subarray(5)
  if (frame.readUInt32BE(1) !== message.length) return undefined
  let status = 0
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = message[at++]
      if (byte === undefined) return NaN
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    return NaN
  }
  while (at < message.length) {
    const key = varint()
    if (key === 8) status = varint()
    else if ((key & 7) === 0) varint()
    else if ((key & 7) === 2) {
      const length = varint()
      at += length
    } else return undefined
    if (Number.isNaN(status) || Number.isNaN(at)) return undefined
  }
  return at === message.length ? status : undefined
}

function ask (target: ProbeTarget, frame: Buffer, secure: boolean, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const { address, tls } = target
    const authority = `${secure ? 'https' : 'http'}://${address.host}`
    const session = connect(authority, {
      ...(isIP(address.hostname) === 0 ? {} : { servername: '' }),
      ...(address.socketPath === undefined ? {} : { path: address.socketPath }),
      ...tls,
      ALPNProtocols: ['h2']
    })
    const end = (result: ProbeResult): void => {
      session.destroy()
      resolve(result)
    }
    let answer = Buffer.alloc(0)
    let grpcStatus = ''
    let message = ''
    const read = ({ 'grpc-status': code, 'grpc-message': text }: IncomingHttpHeaders): void => {
      if (typeof code === 'string') grpcStatus = code
      if (typeof text === 'string') message = text.slice(0, 100)
    }
    session.on('error', (error) => { end(failedBy(error)) })
    session.on('close', () => { end(failed('the connection was closed')) })
    signal.addEventListener('abort', () => { session.destroy() }, { once: true })
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc+proto',
      te: 'trailers',
      'grpc-timeout': `${Math.ceil(target.timeout)}m`,
      'user-agent': 'headgate-health'
    })
    stream.on('response', (headers) => {
      const status = headers[':status']
      if (status !== 200) return end(failed(`status ${status}`))
      read(headers)
    })
    stream.on('data', (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk])
      if (answer.length > LIMIT) end(failed('the answer is too long for a health check'))
    })
    stream.on('trailers', read)
    stream.on('error', (error) => { end(failedBy(error)) })
    stream.on('end', () => {
      if (grpcStatus !== '0') return end(failed(`gRPC status ${grpcStatus === '' ? 'missing' : grpcStatus}${message === '' ? '' : `: ${message}`}`))
      const status = readStatus(answer)
      if (status === undefined) return end(failed('the answer is not a HealthCheckResponse'))
      end({ ok: status === 1, reason: SERVING[status] ?? `serving status ${status}` })
    })
    stream.end(frame)
  })
}

export const grpc: ProbeKind<GrpcProbeOptions> = {
  kind: 'grpc',
  describe: 'grpc.health.v1.Health/Check over HTTP/2.',
  required: [],
  // One length byte of a varint holds up to 127.
  properties: { service: { type: 'string', maxLength: 127, pattern: '^[\\x20-\\x7e]*$' }, secure: { type: 'boolean' } },
  create ({ service = '', secure }): Probe {
    const frame = requestFrame(service)
    return {
      kind: 'grpc',
      applies: hasStream,
      check (target, signal) {
        const { protocol } = target.address
        return ask(target, frame, secure ?? (protocol === 'https:' || protocol === 'tls:'), signal)
      }
    }
  }
}
