// Reads pictures of one digit each, with Java 17 or newer and no library.
//
//   java ReadDigit.java http://localhost:8000 digits/3.png digits/7.png

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

class ReadDigit {
    // Enough for this answer. Use a JSON library if you need more of it.
    private static final Pattern ACCEPTED = Pattern.compile("\"digit\":(\\d),.*\"accepted\":true,", Pattern.DOTALL);

    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
        for (int i = 1; i < arguments.length; i++) {
            Path picture = Path.of(arguments[i]);
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/predict"))
                .header("Content-Type", "application/octet-stream")
                .timeout(Duration.ofSeconds(30))
                .POST(HttpRequest.BodyPublishers.ofFile(picture))
                .build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            Matcher digit = ACCEPTED.matcher(response.body());
            String result = digit.find() ? digit.group(1) : "not accepted: " + response.body();
            System.out.println(picture.getFileName() + ": " + result);
        }
    }
}
