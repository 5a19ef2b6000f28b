package peers;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;

/** Record n: when it is sent and when it is due, ms after the start. */
final class Plan {
    private static final int ROW_BYTES = 8;

    private final ByteBuffer rows;

    Plan(String path) throws IOException {
        rows = ByteBuffer.wrap(Files.readAllBytes(Path.of(path))).order(ByteOrder.LITTLE_ENDIAN);
    }

    int records() {
        return rows.capacity() / ROW_BYTES;
    }

    long sendMs(int n) {
        return Integer.toUnsignedLong(rows.getInt(n * ROW_BYTES));
    }

    long dueMs(int n) {
        return Integer.toUnsignedLong(rows.getInt(n * ROW_BYTES + 4));
    }
}
