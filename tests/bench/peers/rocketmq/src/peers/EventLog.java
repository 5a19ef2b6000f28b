package peers;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;

/** Rows of (record, wall clock in ms), as harness/rows.py reads them. May be used by many threads. */
final class EventLog {
    private static final int ROW_BYTES = 12;
    private static final long FLUSH_EVERY_MS = 50;

    private final OutputStream out;
    private final ByteBuffer row = ByteBuffer.allocate(ROW_BYTES).order(ByteOrder.LITTLE_ENDIAN);

    EventLog(String path) throws IOException {
        out = new BufferedOutputStream(Files.newOutputStream(Path.of(path)), 1 << 16);
        var flusher = new Thread(this::flushForever, "event-log");
        flusher.setDaemon(true);
        flusher.start();
    }

    synchronized void add(int n, long atMs) {
        row.clear().putInt(n).putLong(atMs);
        try {
            out.write(row.array());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    synchronized void flush() {
        try {
            out.flush();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private void flushForever() {
        try {
            while (true) {
                Thread.sleep(FLUSH_EVERY_MS);
                flush();
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }
}
