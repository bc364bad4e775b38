import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.Module;
import com.fasterxml.jackson.databind.jsontype.NamedType;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.google.inject.Binder;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import javax.servlet.DispatcherType;
import javax.servlet.Filter;
import javax.servlet.FilterChain;
import javax.servlet.FilterConfig;
import javax.servlet.ServletException;
import javax.servlet.ServletRequest;
import javax.servlet.ServletResponse;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.apache.druid.initialization.DruidModule;
import org.apache.druid.server.security.AuthConfig;
import org.apache.druid.server.security.AuthenticationResult;
import org.apache.druid.server.security.Authenticator;

/** An extension of Druid with an authenticator that knows one user, since druid-basic-security cannot be had here. */
public class OneUserModule implements DruidModule {
    @Override
    public List<? extends Module> getJacksonModules() {
        SimpleModule module = new SimpleModule("OneUser");
        module.registerSubtypes(new NamedType(OneUser.class, "one-user"));
        return List.of(module);
    }

    @Override
    public void configure(Binder binder) {}

    public static class OneUser implements Authenticator, Filter {
        private final String username;
        private final String wanted;

        @JsonCreator
        public OneUser(@JsonProperty("username") String username, @JsonProperty("password") String password) {
            this.username = username;
            byte[] pair = (username + ":" + password).getBytes(StandardCharsets.UTF_8);
            this.wanted = "Basic " + Base64.getEncoder().encodeToString(pair);
        }

        @Override
        public void doFilter(ServletRequest request, ServletResponse response, FilterChain chain)
                throws IOException, ServletException {
            if (!wanted.equals(((HttpServletRequest) request).getHeader("Authorization"))) {
                ((HttpServletResponse) response).sendError(HttpServletResponse.SC_UNAUTHORIZED);
                return;
            }
            AuthenticationResult known = new AuthenticationResult(username, "allowAll", "one-user", null);
            request.setAttribute(AuthConfig.DRUID_AUTHENTICATION_RESULT, known);
            chain.doFilter(request, response);
        }

        @Override
        public void init(FilterConfig config) {}

        @Override
        public void destroy() {}

        @Override
        public Filter getFilter() {
            return this;
        }

        @Override
        public Class<? extends Filter> getFilterClass() {
            return OneUser.class;
        }

        @Override
        public Map<String, String> getInitParameters() {
            return Map.of();
        }

        @Override
        public String getPath() {
            return "/*";
        }

        @Override
        public EnumSet<DispatcherType> getDispatcherType() {
            return EnumSet.of(DispatcherType.REQUEST);
        }

        @Override
        public String getAuthChallengeHeader() {
            return "Basic";
        }

        @Override
        public AuthenticationResult authenticateJDBCContext(Map<String, Object> context) {
            return null;
        }
    }
}
