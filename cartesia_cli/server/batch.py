"""The batch endpoint: `POST /stt` and the route of OpenAI's clients, answered by an engine.

Works with any engine. Must decode audio with `audio.files`, or `transcribe` and `stream-file` would recognize different
samples of the same file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import BinaryIO
from uuid import uuid4

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..audio.files import Decoder
from ..audio.pcm import RATE, Samples
from ..errors import ApiError, InputError
from ..protocol.batch import BatchOptions, BatchResponse, api_error, encode_batch
from ..protocol.constants import MODELS
from ..protocol.json_fields import Word
from ..protocol.languages import AUTO_LANGUAGE
from .access import AccessControl
from .engine import EngineExecutor, split_at_silence
from .language_detection import SpokenLanguages
from .observer import AUDIO_SECONDS, RECORDING_HEADER, ServerObserver
from .uploads import Uploads

UPLOAD_NAME = "The file"
"""The name of an upload in messages."""

logger = logging.getLogger(__name__)


class BatchEndpoint:
    """Answers batch requests: `answer` reads the form, `_transcribe` recognizes its audio, some windows at a time.

    executor   the engine, shared by all requests: they take turns after each call, if it has fewer workers
    access     who may use the server, and how many at once
    uploads    receives the request bodies
    observer   gets the seconds of audio that are done
    """

    def __init__(
        self, executor: EngineExecutor, access: AccessControl, uploads: Uploads, observer: ServerObserver
    ) -> None:
        self._executor, self._access, self._uploads, self._observer = executor, access, uploads, observer

    async def answer(self, request: Request) -> Response:
        """The transcript. Raises ApiError for the documented errors, HTTPException for what isn't a form."""
        request_id = str(uuid4())
        try:
            await self._uploads.check(request, self._access)
            async with self._uploads.form(request) as form:
                with self._access.admit():
                    transcript = await self._transcribe(request, form, request_id)
        except ClientDisconnect:
            return Response()
        except (ApiError, HTTPException):
            raise
        except Exception as error:
            logger.debug("transcribing failed", exc_info=True)
            raise api_error(500, "Internal server error", f"{type(error).__name__}: {error}") from error
        return Response(encode_batch(transcript), 200, {"X-Request-Id": request_id}, "application/json")

    async def _transcribe(self, request: Request, form: FormData, request_id: str) -> BatchResponse:
        """The transcript of a form. Raises ApiError for one that can't be transcribed."""
        file, options = parse_form(request, form)
        language = options.language or "en"
        if options.model not in MODELS:
            message = "The model is not valid, make sure it is a valid model ID."
            raise api_error(400, "Invalid model", message, "model_not_found")
        executor, engine = self._executor, self._executor.engine
        executor.check_language(language)
        spoken = SpokenLanguages() if language == AUTO_LANGUAGE else None
        words: list[Word] = []
        is_own_client = RECORDING_HEADER in request.headers
        done = 0
        windows = split_at_silence(decode_upload(file, options))
        batch: list[Samples]
        while batch := await executor.run(list, islice(windows, executor.batch_size)):
            if await request.is_disconnected():
                raise api_error(400, "Client closed request", "The client left before the response was ready.")
            languages = [language] * len(batch)
            if spoken is not None:
                languages = [spoken.add(await executor.run(engine.detect_language, w), len(w) / RATE) for w in batch]
            for language, run in groupby(zip(batch, languages, strict=True), key=itemgetter(1)):
                windows_of_run = [window for window, _ in run]
                found = await executor.run(engine.recognize, windows_of_run, language)
                for window, recognized in zip(windows_of_run, found, strict=True):
                    words += _shift_words(recognized, done / RATE, len(window) / RATE, words)
                    done += len(window)
            setattr(request.state, AUDIO_SECONDS, done / RATE)
            self._observer.audio_recognized(request.headers.get(RECORDING_HEADER, ""), done / RATE)
        return BatchResponse(
            text="".join(word.word for word in words).strip(),
            language=language if spoken is None else spoken.main,
            languages=spoken.spans or None if spoken is not None else None,
            duration=round(done / RATE, 3),
            words=tuple(_sent_word(word, is_own_client) for word in words) if options.word_timestamps else None,
            request_id=request_id,
        )


def parse_form(request: Request, form: FormData) -> tuple[BinaryIO, BatchOptions]:
    """The file and the options of a batch request. Raises ApiError 400 for what the API reference rules out."""
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        raise api_error(400, "Missing file", "The form field 'file' is required.")
    fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return upload.file, BatchOptions.parse(request.query_params, fields)


def decode_upload(file: BinaryIO, options: BatchOptions) -> Iterator[Samples]:
    """Blocks of 16 kHz mono from a seekable file. Raises ApiError 400 if it contains no audio."""
    try:
        if options.encoding is None:
            yield from Decoder().decode_open_file(file, UPLOAD_NAME)
        else:
            assert options.sample_rate is not None
            yield from Decoder().decode_raw(file, options.encoding, options.sample_rate, UPLOAD_NAME)
    except InputError as error:
        raise api_error(400, "Invalid audio", f"{error.message}.") from error


def _shift_words(words: Iterable[Word], offset: float, length: float, before: list[Word]) -> Iterator[Word]:
    """Words of one window, with times in the whole recording: in order, within the window, in milliseconds.

    offset, length   where the window starts, and how long it is, in seconds
    before           the words of the windows before it
    """
    latest = before[-1].end or 0.0 if before else 0.0
    for word in words:
        start = max(latest, min(offset + (word.start or 0.0), offset + length))
        latest = max(start, min(offset + (word.end or 0.0), offset + length))
        yield Word(word.word, round(start, 3), round(latest, 3), estimated=word.estimated)


def _sent_word(word: Word, marks_estimates: bool) -> Word:
    """A word as it is sent: Cartesia's has no spaces around it, and doesn't say whether its times are estimates."""
    return word._replace(word=word.word.strip(), estimated=word.estimated and marks_estimates)
