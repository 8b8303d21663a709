import createError, { type FastifyErrorConstructor } from '@fastify/error'

/** An option is not what it has to be. The message names its path, its value and what is allowed. */
export const CompressOptionError: FastifyErrorConstructor<{ code: 'HG_COMPRESS_OPTION' }, [string]> =
  createError('HG_COMPRESS_OPTION', '%s', 500, TypeError)
/** The client refuses every coding that the response could have, identity included (RFC 9110 12.5.3). */
export const NotAcceptableError: FastifyErrorConstructor<{ code: 'HG_COMPRESS_NOT_ACCEPTABLE'; statusCode: 406 }, [string]> =
  createError('HG_COMPRESS_NOT_ACCEPTABLE', 'None of the codings that Accept-Encoding allows can be made; there are %s', 406)
/** The body is not what its Content-Encoding says, or ends too early. */
export const BrokenEncodingError: FastifyErrorConstructor<{ code: 'HG_COMPRESS_BROKEN_ENCODING'; statusCode: 502 }, [string, string]> =
  createError('HG_COMPRESS_BROKEN_ENCODING', 'The body is not the %s that its Content-Encoding promises: %s', 502)
/** The body grows beyond what `transcode` allows while it is decoded. */
export const BombError: FastifyErrorConstructor<{ code: 'HG_COMPRESS_BOMB'; statusCode: 502 }, [string]> =
  createError('HG_COMPRESS_BOMB', 'The decoded body is larger than allowed: %s', 502)
/** `app.compress` was asked for a coding that is not there. */
export const UnknownEncodingError: FastifyErrorConstructor<{ code: 'HG_COMPRESS_UNKNOWN_ENCODING' }, [string, string]> =
  createError('HG_COMPRESS_UNKNOWN_ENCODING', "The coding '%s' is not available; there are %s")
/** More static encodings wait than the queue holds: ask again later, or without `static`. */
export const BackgroundBusyError: FastifyErrorConstructor<{ code: 'HG_COMPRESS_BUSY' }, []> =
  createError('HG_COMPRESS_BUSY', 'Too many encodings at static level are waiting', 503)
